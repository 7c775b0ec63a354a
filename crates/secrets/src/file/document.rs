//! What stands in the file of a vault, once it is decrypted.
//!
//! A JSON object: `format`, `version`, and in `secrets`, by name in lower case, the versions, the
//! oldest first. A value is base64, which a parser reads without a copy of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tenantry_core::{Error, ErrorKind, Result, Secret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::vault::{SecretRecord, SecretVersion, Validity};

const FORMAT: &str = "tenantry-file-vault";
/// Raise it with whatever an earlier release cannot read or would drop.
const VERSION: u32 = 1;
const LONGEST_NAME: usize = 127;

/// The secrets of a vault.
#[derive(Default, Clone)]
pub(super) struct Contents {
    /// By name in lower case, the oldest version first, and never none.
    pub(super) secrets: BTreeMap<String, Vec<Stored>>,
}

/// A version of a secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) version: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) struct Value(pub(super) Arc<Secret>);

#[derive(Deserialize)]
struct Head<'d> {
    #[serde(borrow)]
    format: &'d str,
    version: u32,
}

#[derive(Serialize)]
struct Written<'c> {
    format: &'static str,
    version: u32,
    secrets: &'c BTreeMap<String, Vec<Stored>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    secrets: BTreeMap<String, Vec<Stored>>,
}

impl Contents {
    pub(super) fn parse(plain: &[u8]) -> Result<Self> {
        // An error of the parser may repeat a value.
        let head: Head<'_> = serde_json::from_slice(plain).map_err(|_| corrupt())?;
        if head.format != FORMAT {
            return Err(corrupt());
        }
        if head.version > VERSION {
            return Err(
                Error::new(ErrorKind::SchemaMismatch, "read vault").with_detail(format!(
                    "it has format {}, and this process knows {VERSION}: bring it up to date",
                    head.version
                )),
            );
        }
        let read: Read = serde_json::from_slice(plain).map_err(|_| corrupt())?;
        let is_sound = read.secrets.iter().all(|(name, versions)| {
            is_name(name)
                && !name.bytes().any(|byte| byte.is_ascii_uppercase())
                && !versions.is_empty()
                && versions.iter().all(|stored| is_version(&stored.version))
        });
        if head.version < 1 || !is_sound {
            return Err(corrupt());
        }
        Ok(Self {
            secrets: read.secrets,
        })
    }

    pub(super) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let written = Written {
            format: FORMAT,
            version: VERSION,
            secrets: &self.secrets,
        };
        let failed = |_| Error::new(ErrorKind::Unexpected, "write vault");
        // Long enough for all of it: a buffer that grows leaves copies behind.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &written).map_err(failed)?;
        let mut json = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *json, &written).map_err(failed)?;
        Ok(json)
    }

    /// Returns a version of a secret, or its newest.
    pub(super) fn find(&self, name: &str, version: Option<&str>) -> Option<&Stored> {
        let versions = self.secrets.get(&name.to_ascii_lowercase())?;
        match version {
            None => versions.last(),
            Some(wanted) => versions.iter().find(|stored| stored.is(wanted)),
        }
    }
}

impl Stored {
    pub(super) const fn is(&self, version: &str) -> bool {
        self.version.as_str().eq_ignore_ascii_case(version)
    }

    pub(super) fn to_version(&self) -> SecretVersion {
        SecretVersion {
            version: self.version.as_str().into(),
            created_at: self.created_at,
            validity: self.validity(),
        }
    }

    pub(super) fn to_record(&self) -> SecretRecord {
        SecretRecord {
            version: Some(self.version.as_str().into()),
            secret: Arc::clone(&self.value.0),
            validity: self.validity(),
        }
    }

    const fn validity(&self) -> Validity {
        Validity {
            enabled: self.enabled,
            not_before: self.not_before,
            expires_at: self.expires_at,
        }
    }
}

/// Returns whether a secret can be called so, as in Key Vault.
pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_version(version: &str) -> bool {
    version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "read vault").with_detail(
        "this key opens it, and what it holds is no vault: correct the path, or restore it",
    )
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0.expose().as_bytes(), &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        STANDARD
            .decode_vec(text, &mut bytes)
            .map_err(|_| E::custom("no base64"))?;
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(value) => Ok(Value(Arc::new(Secret::new(value)))),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(E::custom("no UTF-8"))
            }
        }
    }
}
