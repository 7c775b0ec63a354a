//! The operations of the protocol: a call in, an answer out.
//!
//! Paths, methods, properties and limits are those of the published specification, version
//! 2025-07-01; `tests/key_vault` compares them with it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::names::ApiVersion;
use super::refusal::Refusal;
use super::secret::{About, Change, Found, NewSecret};
use super::store::{Deleted, Retention, Store};

/// How many items a page has, unless a client wants fewer.
const LARGEST_PAGE: usize = 25;

/// A request whose caller is known.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// The host as the client wrote it, with its port: what is answered leads back there.
    pub(super) authority: &'a str,
    pub(super) vault: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) body: &'a [u8],
}

/// What was done.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
}

/// Does what a call asks for.
pub(super) fn handle(store: &mut Store, call: &Call<'_>, now: i64) -> Result<Answer, Refusal> {
    let version = ApiVersion::parse(call.parameter("api-version").as_deref())?;
    let shape = Shape {
        authority: call.authority,
        retention: store.retention(),
        has_previous_version: version.has_previous_version(),
    };
    let vault = call.vault;
    let body = match (call.method, segments(call.path).as_slice()) {
        ("GET", ["secrets"]) => {
            let items = store.list(vault).map(|(key, secret)| {
                let item = shape.item(secret.latest(), &shape.secret_id(&secret.name));
                (key.clone(), item)
            });
            call.page(&version, items.collect())?
        }
        ("GET", ["secrets", name, "versions"]) => {
            let secret = match store.get(vault, name) {
                Err(refusal) if refusal.status != 404 => return Err(refusal),
                secret => secret.ok(),
            };
            let versions = secret.map(|secret| secret.by_id()).unwrap_or_default();
            let items = versions.into_iter().map(|found| {
                let item = shape.item(found, &shape.version_id(found));
                (found.version.id.clone(), item)
            });
            call.page(&version, items.collect())?
        }
        ("GET", ["secrets", name, rest @ ..]) if rest.len() < 2 => {
            let found = store.get(vault, name)?.find(rest.first().copied())?;
            if !found.version.about.enabled {
                return Err(Refusal::disabled());
            }
            shape.with_value(found)
        }
        ("PUT", ["secrets", name]) => {
            let new = call.new_secret()?;
            shape.with_value(store.set(vault, name, new, now)?)
        }
        ("PATCH", ["secrets", name, rest @ ..]) if rest.len() < 2 => {
            let change = call.change()?;
            shape.bundle(store.change(vault, name, rest.first().copied(), change, now)?)
        }
        ("DELETE", ["secrets", name]) => shape.deleted(store.delete(vault, name, now)?),
        ("POST", ["secrets", "restore"]) => {
            let backup = call.object()?.required_text("value")?;
            shape.bundle(store.restore(vault, &backup, now)?)
        }
        ("POST", ["secrets", name, "backup"]) => json!({ "value": store.back_up(vault, name)? }),
        ("GET", ["deletedsecrets"]) => {
            let items = store.list_deleted(vault, now).map(|(key, deleted)| {
                let item = shape.item(
                    deleted.secret.latest(),
                    &shape.secret_id(&deleted.secret.name),
                );
                (key.clone(), shape.with_dates(item, deleted))
            });
            call.page(&version, items.collect())?
        }
        ("GET", ["deletedsecrets", name]) => shape.deleted(store.get_deleted(vault, name, now)?),
        ("DELETE", ["deletedsecrets", name]) => {
            store.purge(vault, name, now)?;
            return Ok(Answer {
                status: 204,
                body: None,
            });
        }
        ("POST", ["deletedsecrets", name, "recover"]) => {
            shape.bundle(store.recover(vault, name, now)?)
        }
        (method, ["secrets" | "deletedsecrets", ..]) => {
            let message = format!("Method {method} is not allowed on {}", call.path);
            return Err(Refusal::new(405, "MethodNotAllowed", message));
        }
        _ => {
            let message = format!("There is nothing at {}", call.path);
            return Err(Refusal::new(404, "NotFound", message));
        }
    };
    Ok(Answer {
        status: 200,
        body: Some(body),
    })
}

/// Returns the name of the secret, deleted or not, that a path is about.
pub(super) fn secret_of(path: &str) -> Option<&str> {
    match segments(path).as_slice() {
        ["secrets", "restore"] => None,
        ["secrets" | "deletedsecrets", name, ..] => Some(name),
        _ => None,
    }
}

/// A client may write a slash too many: the official one ends with it where it wants no version.
fn segments(path: &str) -> Vec<&str> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .collect()
}

impl Call<'_> {
    fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Returns a page of a list whose items are in the order of their keys.
    fn page(&self, version: &ApiVersion, items: Vec<(String, Value)>) -> Result<Value, Refusal> {
        let size = match self.parameter("maxresults") {
            None => LARGEST_PAGE,
            Some(text) => text
                .parse()
                .ok()
                .filter(|size| (1..=LARGEST_PAGE).contains(size))
                .ok_or_else(|| {
                    Refusal::bad_parameter(format!("maxresults must be from 1 to {LARGEST_PAGE}"))
                })?,
        };
        // What was added or removed meanwhile moves nothing: a page begins behind a key.
        let after = match self.parameter("$skiptoken") {
            None => String::new(),
            Some(token) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|key| String::from_utf8(key).ok())
                .ok_or_else(|| Refusal::bad_parameter("$skiptoken is none of this vault"))?,
        };
        let mut rest = items.into_iter().filter(|(key, _)| *key > after).peekable();
        let mut last = String::new();
        let mut page = Vec::new();
        while let Some((key, item)) = rest.next_if(|_| page.len() < size) {
            last = key;
            page.push(item);
        }
        let next = rest.peek().map(|_| {
            format!(
                "https://{}{}?api-version={}&$skiptoken={}&maxresults={size}",
                self.authority,
                self.path,
                version.as_str(),
                URL_SAFE_NO_PAD.encode(last)
            )
        });
        Ok(json!({ "value": page, "nextLink": next }))
    }

    fn object(&self) -> Result<Object, Refusal> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Object(properties)) => Ok(Object(properties)),
            // Not a word of the body: it may hold a value.
            _ => Err(Refusal::bad_parameter("The body is no JSON object.")),
        }
    }

    fn new_secret(&self) -> Result<NewSecret, Refusal> {
        let object = self.object()?;
        let attributes = object.object("attributes")?;
        Ok(NewSecret {
            value: object.required_text("value")?,
            about: About {
                content_type: object.text("contentType")?,
                tags: object.tags()?.unwrap_or_default(),
                enabled: attributes.boolean("enabled")?.unwrap_or(true),
                not_before: attributes.integer("nbf")?,
                expires: attributes.integer("exp")?,
            },
        })
    }

    fn change(&self) -> Result<Change, Refusal> {
        let object = self.object()?;
        if object.text("value")?.is_some() {
            let message = "The value of a version cannot be changed: set a new version.";
            return Err(Refusal::bad_parameter(message));
        }
        let attributes = object.object("attributes")?;
        Ok(Change {
            content_type: object.text("contentType")?,
            tags: object.tags()?,
            enabled: attributes.boolean("enabled")?,
            not_before: attributes.integer("nbf")?.map(Some),
            expires: attributes.integer("exp")?.map(Some),
        })
    }
}

/// The properties of a body; one that is `null` is not there.
struct Object(Map<String, Value>);

impl Object {
    fn required_text(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?
            .ok_or_else(|| Refusal::bad_parameter(format!("The property {name} is missing.")))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.property(name, |value| value.as_str().map(str::to_owned))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.property(name, Value::as_bool)
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.property(name, Value::as_i64)
    }

    fn tags(&self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        self.property("tags", |value| {
            let tag = |(name, value): (&String, &Value)| {
                value.as_str().map(|value| (name.clone(), value.to_owned()))
            };
            value.as_object()?.iter().map(tag).collect()
        })
    }

    fn object(&self, name: &str) -> Result<Self, Refusal> {
        let object = self.property(name, |value| value.as_object().cloned())?;
        Ok(Self(object.unwrap_or_default()))
    }

    fn property<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| {
                Refusal::bad_parameter(format!("The property {name} has an invalid value."))
            }),
        }
    }
}

/// How an answer says what was found.
struct Shape<'a> {
    authority: &'a str,
    retention: Retention,
    has_previous_version: bool,
}

impl Shape<'_> {
    fn secret_id(&self, name: &str) -> String {
        format!("https://{}/secrets/{name}", self.authority)
    }

    fn version_id(&self, found: Found<'_>) -> String {
        format!(
            "{}/{}",
            self.secret_id(&found.secret.name),
            found.version.id
        )
    }

    /// The bundle with the value, which only the operations that get and set it answer.
    fn with_value(&self, found: Found<'_>) -> Value {
        let mut bundle = self.bundle(found);
        bundle["value"] = json!(found.version.value);
        bundle
    }

    fn bundle(&self, found: Found<'_>) -> Value {
        let mut bundle = self.item(found, &self.version_id(found));
        if let Some(previous) = found.previous.filter(|_| self.has_previous_version) {
            bundle["previousVersion"] = json!(previous.id);
        }
        bundle
    }

    fn item(&self, found: Found<'_>, id: &str) -> Value {
        let about = &found.version.about;
        let mut item = json!({
            "id": id,
            "attributes": {
                "enabled": about.enabled,
                "created": found.version.created,
                "updated": found.version.updated,
                "recoveryLevel": self.retention.level(),
                "recoverableDays": self.retention.days,
            },
        });
        for (name, time) in [("nbf", about.not_before), ("exp", about.expires)] {
            if let Some(time) = time {
                item["attributes"][name] = json!(time);
            }
        }
        if let Some(content_type) = &about.content_type {
            item["contentType"] = json!(content_type);
        }
        if !about.tags.is_empty() {
            item["tags"] = json!(about.tags);
        }
        item
    }

    fn deleted(&self, deleted: &Deleted) -> Value {
        self.with_dates(self.bundle(deleted.secret.latest()), deleted)
    }

    fn with_dates(&self, mut item: Value, deleted: &Deleted) -> Value {
        let name = &deleted.secret.name;
        item["recoveryId"] = json!(format!("https://{}/deletedsecrets/{name}", self.authority));
        item["deletedDate"] = json!(deleted.at);
        item["scheduledPurgeDate"] = json!(deleted.purged_at);
        item
    }
}
