//! What a vault holds.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::refusal::Refusal;

/// The longest value, in bytes.
const LONGEST_VALUE: usize = 25 * 1024;
const LONGEST_CONTENT_TYPE: usize = 255;
const MOST_TAGS: usize = 15;

/// A secret to set, or a new version of one: a value, and what is said about it.
///
/// `Debug` shows everything but the value.
#[derive(Clone)]
pub struct NewSecret {
    pub(super) value: String,
    pub(super) about: About,
}

/// What is said about a version of a secret.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) content_type: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) enabled: bool,
    /// Seconds since 1970, as all times of the protocol.
    pub(super) not_before: Option<i64>,
    pub(super) expires: Option<i64>,
}

/// What to change of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) content_type: Option<String>,
    /// All of them: there is no change to a single tag.
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) enabled: Option<bool>,
    /// To say that there is none is left to a test: the protocol cannot.
    pub(super) not_before: Option<Option<i64>>,
    pub(super) expires: Option<Option<i64>>,
}

/// A secret with all of its versions.
#[derive(Clone)]
pub(super) struct Secret {
    /// As it was first written; later ones may differ in case.
    pub(super) name: String,
    /// In the order in which they came; there is at least one.
    versions: Vec<Version>,
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: String,
    pub(super) about: About,
    pub(super) created: i64,
    pub(super) updated: i64,
}

/// A version, its secret, and the version before it.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) secret: &'a Secret,
    pub(super) version: &'a Version,
    pub(super) previous: Option<&'a Version>,
}

impl NewSecret {
    /// Returns a secret that is enabled, never expires, and has no tags.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            about: About {
                content_type: None,
                tags: BTreeMap::new(),
                enabled: true,
                not_before: None,
                expires: None,
            },
        }
    }

    /// Says what the value is, such as `password`.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.about.content_type = Some(content_type.into());
        self
    }

    /// Adds a tag; a vault takes no more than 15.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.about.tags.insert(name.into(), value.into());
        self
    }

    /// Sets it disabled, if not `enabled`: it is listed, but its value is not handed out.
    #[must_use]
    pub const fn with_enabled(mut self, enabled: bool) -> Self {
        self.about.enabled = enabled;
        self
    }

    /// Says from when on it is valid. The vault hands the value out before, as Azure does.
    #[must_use]
    pub const fn with_not_before(mut self, at: DateTime<Utc>) -> Self {
        self.about.not_before = Some(at.timestamp());
        self
    }

    /// Says until when it is valid. The vault hands the value out after, as Azure does.
    #[must_use]
    pub const fn with_expiry(mut self, at: DateTime<Utc>) -> Self {
        self.about.expires = Some(at.timestamp());
        self
    }
}

impl From<&str> for NewSecret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl From<String> for NewSecret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("value", &"[redacted]")
            .field("about", &self.about)
            .finish()
    }
}

impl About {
    fn check(&self) -> Result<(), Refusal> {
        if self.tags.len() > MOST_TAGS {
            return Err(Refusal::bad_parameter(format!(
                "The number of tags must not exceed {MOST_TAGS}."
            )));
        }
        let content_type = self.content_type.as_deref().unwrap_or_default();
        if content_type.chars().count() > LONGEST_CONTENT_TYPE {
            return Err(Refusal::bad_parameter(format!(
                "The content type must not exceed {LONGEST_CONTENT_TYPE} characters."
            )));
        }
        Ok(())
    }

    fn changed(&self, change: Change) -> Self {
        Self {
            content_type: change.content_type.or_else(|| self.content_type.clone()),
            tags: change.tags.unwrap_or_else(|| self.tags.clone()),
            enabled: change.enabled.unwrap_or(self.enabled),
            not_before: change.not_before.unwrap_or(self.not_before),
            expires: change.expires.unwrap_or(self.expires),
        }
    }
}

impl Secret {
    /// Returns a secret whose first version is `new`.
    pub(super) fn create(name: &str, new: NewSecret, now: i64) -> Result<Self, Refusal> {
        Ok(Self {
            name: name.to_owned(),
            versions: vec![Version::create(new, now)?],
        })
    }

    pub(super) fn add(&mut self, new: NewSecret, now: i64) -> Result<(), Refusal> {
        self.versions.push(Version::create(new, now)?);
        Ok(())
    }

    /// Changes a version, or the latest.
    pub(super) fn change(
        &mut self,
        version: Option<&str>,
        change: Change,
        now: i64,
    ) -> Result<(), Refusal> {
        let index = self.index(version)?;
        let version = &mut self.versions[index];
        let about = version.about.changed(change);
        about.check()?;
        version.about = about;
        version.updated = now;
        Ok(())
    }

    /// Returns a version, or the latest.
    pub(super) fn find(&self, version: Option<&str>) -> Result<Found<'_>, Refusal> {
        Ok(self.at(self.index(version)?))
    }

    /// Returns the version that was set last, disabled or not.
    pub(super) fn latest(&self) -> Found<'_> {
        self.at(self.versions.len() - 1)
    }

    /// Returns all versions, by their identifiers. That says nothing of when they came: the order
    /// of the service does not either, and a client may not rest on it.
    pub(super) fn by_id(&self) -> Vec<Found<'_>> {
        let mut versions: Vec<_> = (0..self.versions.len())
            .map(|index| self.at(index))
            .collect();
        versions.sort_by(|one, other| one.version.id.cmp(&other.version.id));
        versions
    }

    fn at(&self, index: usize) -> Found<'_> {
        Found {
            secret: self,
            version: &self.versions[index],
            previous: index.checked_sub(1).map(|index| &self.versions[index]),
        }
    }

    fn index(&self, id: Option<&str>) -> Result<usize, Refusal> {
        let Some(id) = id else {
            return Ok(self.versions.len() - 1);
        };
        self.versions
            .iter()
            .position(|version| version.id.eq_ignore_ascii_case(id))
            .ok_or_else(|| Refusal::not_found(&format!("{}/{id}", self.name)))
    }
}

impl Version {
    fn create(new: NewSecret, now: i64) -> Result<Self, Refusal> {
        if new.value.len() > LONGEST_VALUE {
            return Err(Refusal::bad_parameter(format!(
                "The value must not exceed {LONGEST_VALUE} bytes."
            )));
        }
        new.about.check()?;
        Ok(Self {
            id: Uuid::new_v4().simple().to_string(),
            value: new.value,
            about: new.about,
            created: now,
            updated: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_what_is_said_about_a_value_and_not_the_value() {
        let secret = NewSecret::new("canary").with_tag("owner", "billing");
        let shown = format!("{secret:?}");
        assert!(shown.contains("billing") && !shown.contains("canary"));
    }

    #[test]
    fn a_secret_remembers_which_version_came_before_which() {
        let mut secret = Secret::create("db", "one".into(), 1).unwrap();
        secret.add("two".into(), 2).unwrap();
        let latest = secret.latest();
        assert_eq!(latest.version.value, "two");
        assert_eq!(latest.previous.unwrap().value, "one");
        let first = secret
            .find(latest.previous.map(|version| &*version.id))
            .unwrap();
        assert!(first.previous.is_none());
    }

    #[test]
    fn what_is_too_much_changes_nothing() {
        let mut secret = Secret::create("db", "x".repeat(25 * 1024).into(), 1).unwrap();
        assert!(secret.add("x".repeat(25 * 1024 + 1).into(), 2).is_err());
        let tags = (0..16).map(|index| (index.to_string(), String::new()));
        let change = Change {
            tags: Some(tags.collect()),
            enabled: Some(false),
            ..Change::default()
        };
        assert!(secret.change(None, change, 2).is_err());
        let latest = secret.latest().version;
        assert!(latest.about.enabled);
        assert_eq!((latest.created, latest.updated), (1, 1));
    }
}
