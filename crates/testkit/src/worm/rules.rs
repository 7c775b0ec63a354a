//! What immutable storage keeps of single blobs, as the service documents it.
//!
//! | rule | where it is written |
//! |---|---|
//! | a policy is set by `x-ms-immutability-policy-until-date`, and `-mode`, which is `Unlocked` if nothing is said; the ETag stays | <https://learn.microsoft.com/rest/api/storageservices/set-blob-immutability-policy> |
//! | only an unlocked policy can be deleted; the ETag stays | <https://learn.microsoft.com/rest/api/storageservices/delete-blob-immutability-policy> |
//! | a legal hold is set and cleared by `x-ms-legal-hold`; the ETag stays | <https://learn.microsoft.com/rest/api/storageservices/set-blob-legal-hold> |
//! | both are taken with Put Blob and Put Block List | <https://learn.microsoft.com/rest/api/storageservices/put-blob> |
//! | under an active policy or a hold a blob is not deleted, nor its metadata, properties or bytes written; after the end of a policy it can be deleted, and still not be written | <https://learn.microsoft.com/azure/storage/blobs/immutable-version-level-worm-policies#scenarios> |
//! | an unlocked policy can be shortened and taken off; a locked one only becomes longer, as often as one likes | <https://learn.microsoft.com/azure/storage/blobs/immutable-version-level-worm-policies> |
//!
//! Versions there are none here: what Azure would write as a new version is refused.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

/// How firmly a policy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Unlocked,
    Locked,
}

impl Mode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "unlocked" => Some(Self::Unlocked),
            "locked" => Some(Self::Locked),
            _ => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) until: DateTime<Utc>,
    pub(super) mode: Mode,
}

/// What keeps one blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) policy: Option<Policy>,
    pub(super) is_held: bool,
}

/// What a request is refused with: a status and a code.
pub(super) type Refused = (u16, &'static str);

const BY_POLICY: Refused = (409, "BlobImmutableDueToPolicy");
const BY_HOLD: Refused = (409, "BlobImmutableDueToLegalHold");
const INVALID: Refused = (400, "InvalidHeaderValue");
const MISSING: Refused = (400, "MissingRequiredHeader");
const NO_BLOB: Refused = (404, "BlobNotFound");

impl Kept {
    /// Reads what is asked for when a blob is put.
    pub(super) fn asked(
        until: Option<&str>,
        mode: Option<&str>,
        hold: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Self, Refused> {
        let policy = match (until, mode) {
            (None, None) => None,
            (None, Some(_)) => return Err(MISSING),
            (Some(until), mode) => Some(policy(until, mode, now)?),
        };
        Ok(Self {
            policy,
            is_held: hold.map(flag).transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn check_deletion(&self, now: DateTime<Utc>) -> Result<(), Refused> {
        if self.is_held {
            return Err(BY_HOLD);
        }
        match self.policy {
            Some(policy) if policy.until > now => Err(BY_POLICY),
            _ => Ok(()),
        }
    }

    /// Checks whether bytes, metadata or properties may be written.
    pub(super) const fn check_write(&self) -> Result<(), Refused> {
        match (self.is_held, self.policy) {
            (true, _) => Err(BY_HOLD),
            (false, Some(_)) => Err(BY_POLICY),
            (false, None) => Ok(()),
        }
    }
}

fn policy(until: &str, mode: Option<&str>, now: DateTime<Utc>) -> Result<Policy, Refused> {
    let until = DateTime::parse_from_rfc2822(until)
        .map_err(|_| INVALID)?
        .to_utc();
    let mode = match mode {
        None => Mode::Unlocked,
        Some(mode) => Mode::parse(mode).ok_or(INVALID)?,
    };
    match until > now {
        true => Ok(Policy { until, mode }),
        false => Err(INVALID),
    }
}

fn flag(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(INVALID),
    }
}

/// What keeps the blobs of an account, by their paths.
#[derive(Debug, Default)]
pub(super) struct Ledger(HashMap<String, Kept>);

impl Ledger {
    pub(super) fn get(&self, path: &str) -> Kept {
        self.0.get(path).copied().unwrap_or_default()
    }

    pub(super) fn put(&mut self, path: &str, kept: Kept) {
        self.0.insert(path.to_owned(), kept);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    pub(super) fn set_policy(
        &mut self,
        path: &str,
        until: Option<&str>,
        mode: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Kept, Refused> {
        let kept = self.0.get_mut(path).ok_or(NO_BLOB)?;
        let next = policy(until.ok_or(MISSING)?, mode, now)?;
        if let Some(before) = kept.policy
            && before.mode == Mode::Locked
            && (next.mode == Mode::Unlocked || next.until < before.until)
        {
            return Err(BY_POLICY);
        }
        kept.policy = Some(next);
        Ok(*kept)
    }

    pub(super) fn delete_policy(&mut self, path: &str) -> Result<Kept, Refused> {
        let kept = self.0.get_mut(path).ok_or(NO_BLOB)?;
        if kept
            .policy
            .is_some_and(|policy| policy.mode == Mode::Locked)
        {
            return Err(BY_POLICY);
        }
        kept.policy = None;
        Ok(*kept)
    }

    pub(super) fn set_hold(&mut self, path: &str, hold: Option<&str>) -> Result<Kept, Refused> {
        let kept = self.0.get_mut(path).ok_or(NO_BLOB)?;
        kept.is_held = flag(hold.ok_or(MISSING)?)?;
        Ok(*kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32) -> DateTime<Utc> {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn written(day: u32) -> String {
        at(day).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn with(until: Option<u32>, mode: Option<&str>) -> Ledger {
        let until = until.map(written);
        let kept = Kept::asked(until.as_deref(), mode, None, at(1)).unwrap();
        let mut ledger = Ledger::default();
        ledger.put("/a", kept);
        ledger
    }

    #[test]
    fn what_a_put_asks_for_is_checked() {
        let (until, past) = (written(9), written(2));
        let asked = |until, mode, hold| Kept::asked(until, mode, hold, at(2));
        assert_eq!(asked(None, None, None), Ok(Kept::default()));
        let kept = asked(Some(&until), None, Some("true")).unwrap();
        assert_eq!(kept.policy.map(|it| it.mode), Some(Mode::Unlocked));
        assert!(kept.is_held);
        assert_eq!(asked(None, Some("Locked"), None), Err(MISSING));
        assert_eq!(asked(Some("tomorrow"), None, None), Err(INVALID));
        assert_eq!(asked(Some(&until), Some("firm"), None), Err(INVALID));
        assert_eq!(asked(Some(&past), None, None), Err(INVALID));
        assert_eq!(asked(None, None, Some("yes")), Err(INVALID));
    }

    #[test]
    fn a_policy_keeps_a_blob_until_its_end_and_what_is_written_for_ever() {
        for mode in ["Locked", "Unlocked"] {
            let kept = with(Some(9), Some(mode)).get("/a");
            assert_eq!(kept.check_deletion(at(8)), Err(BY_POLICY));
            assert_eq!(kept.check_deletion(at(9)), Ok(()));
            assert_eq!(kept.check_write(), Err(BY_POLICY));
        }
    }

    #[test]
    fn a_locked_policy_only_becomes_longer() {
        let mut ledger = with(Some(9), Some("locked"));
        let mut set = |day, mode| ledger.set_policy("/a", Some(&written(day)), mode, at(2));
        assert_eq!(set(8, Some("locked")), Err(BY_POLICY));
        assert_eq!(set(20, Some("unlocked")), Err(BY_POLICY));
        assert_eq!(set(20, None), Err(BY_POLICY), "it would be unlocked");
        for day in 10..20 {
            assert!(set(day, Some("locked")).is_ok());
        }
        assert_eq!(ledger.delete_policy("/a"), Err(BY_POLICY));
    }

    #[test]
    fn an_unlocked_policy_is_shortened_locked_and_taken_off() {
        let mut ledger = with(Some(9), Some("unlocked"));
        assert!(
            ledger
                .set_policy("/a", Some(&written(3)), None, at(2))
                .is_ok()
        );
        assert!(ledger.delete_policy("/a").is_ok());
        assert_eq!(ledger.get("/a").check_deletion(at(2)), Ok(()));
        let mut ledger = with(Some(9), Some("unlocked"));
        assert!(
            ledger
                .set_policy("/a", Some(&written(9)), Some("locked"), at(2))
                .is_ok()
        );
        assert_eq!(ledger.delete_policy("/a"), Err(BY_POLICY));
        assert_eq!(ledger.set_policy("/a", None, None, at(2)), Err(MISSING));
    }

    #[test]
    fn a_hold_keeps_until_it_is_cleared() {
        let mut ledger = with(None, None);
        assert!(ledger.set_hold("/a", Some("true")).is_ok());
        assert_eq!(ledger.get("/a").check_deletion(at(31)), Err(BY_HOLD));
        assert_eq!(ledger.get("/a").check_write(), Err(BY_HOLD));
        assert!(ledger.set_hold("/a", Some("false")).is_ok());
        assert_eq!(ledger.get("/a").check_write(), Ok(()));
        assert_eq!(ledger.set_hold("/a", None), Err(MISSING));
    }

    #[test]
    fn what_is_not_there_has_no_policy() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.set_hold("/a", Some("true")), Err(NO_BLOB));
        assert_eq!(ledger.delete_policy("/a"), Err(NO_BLOB));
        let until = written(9);
        assert_eq!(
            ledger.set_policy("/a", Some(&until), None, at(1)),
            Err(NO_BLOB)
        );
    }
}
