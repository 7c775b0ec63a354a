//! Secrets in files, as Docker and Kubernetes mount them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use tenantry_core::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroizing;

use crate::vault::{SecretRecord, Validity};

/// The folders that references may name files of.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    roots: Vec<Arc<Root>>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    was_there: AtomicBool,
}

impl Folders {
    pub(crate) fn allow(&mut self, root: PathBuf) {
        self.roots.push(Arc::new(Root {
            was_there: root.exists().into(),
            path: root,
        }));
    }

    pub(crate) async fn read(&self, path: &str, key: Option<&str>) -> Result<SecretRecord> {
        let roots = self.roots.clone();
        let path = PathBuf::from(path);
        let read = tokio::task::spawn_blocking(move || text_of(&roots, &path)).await;
        let text = read.map_err(|_| Error::new(ErrorKind::Unexpected, "read file"))??;
        let secret = match key {
            None => text,
            Some(key) => value_of(&text, key)?,
        };
        Ok(SecretRecord {
            version: None,
            secret: Arc::new(secret),
            validity: Validity::ALWAYS,
        })
    }
}

/// Returns the text of a file below one of the folders, whatever links lead to, without the line
/// break that editors put at its end.
fn text_of(roots: &[Arc<Root>], path: &Path) -> Result<Secret> {
    // What links lead to may be put in another's place between two steps, as Kubernetes does.
    for _ in 1..TRIES {
        match text_now(roots, path, Try::Again) {
            Err(error) if error.kind() == ErrorKind::NotFound => std::thread::sleep(TRY_PAUSE),
            outcome => return outcome,
        }
    }
    text_now(roots, path, Try::Last)
}

/// Whether a link that leads nowhere may lead somewhere in a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    Again,
    Last,
}

fn text_now(roots: &[Arc<Root>], path: &Path, which: Try) -> Result<Secret> {
    let mut is_one_missing = false;
    for root in roots {
        let folder = match root.path.canonicalize() {
            Ok(folder) => folder,
            Err(cause) if is_of_path(&cause) && !root.was_there.load(Ordering::Relaxed) => {
                is_one_missing = true;
                continue;
            }
            // It has not lost its files: it may be mounted again. What is of the same name in a later
            // one is another file.
            Err(cause) if root.may_hold(path) => return Err(failed(ErrorKind::Unavailable, cause)),
            Err(_) => continue,
        };
        root.was_there.store(true, Ordering::Relaxed);
        match folder.join(path).canonicalize() {
            Ok(file) if file.starts_with(&folder) && file.is_file() => {
                return text_in(&file).map_err(|error| match (error.kind(), which) {
                    // It was there a moment ago.
                    (ErrorKind::NotFound, Try::Last) => {
                        Error::new(ErrorKind::Unavailable, "read file").with_source(error)
                    }
                    _ => error,
                });
            }
            Err(cause) if !is_of_path(&cause) => return Err(failed(ErrorKind::NotFound, cause)),
            Ok(file) if !file.starts_with(&folder) => {}
            // A later folder's file is another one.
            Ok(_) | Err(_) => match (link_on_the_way(&folder, path), which) {
                (Link::None, _) | (Link::Whole, Try::Last) => {}
                (Link::Broken, Try::Last) => {
                    return Err(Error::new(ErrorKind::Unavailable, "read file")
                        .with_detail("it is behind a link that leads nowhere"));
                }
                (Link::Whole | Link::Broken, Try::Again) => {
                    return Err(Error::new(ErrorKind::NotFound, "read file"));
                }
            },
        }
    }
    let detail = match is_one_missing {
        true => {
            "there is none in the folders that references may name, of which one is not there: see \
                 with_folder"
        }
        false => "there is none in the folders that references may name: see with_folder",
    };
    Err(Error::new(ErrorKind::NotFound, "read file").with_detail(detail))
}

/// What stands on the way to a file that is not found.
enum Link {
    None,
    Whole,
    Broken,
}

fn link_on_the_way(folder: &Path, path: &Path) -> Link {
    let mut links = path.ancestors().map(|part| folder.join(part));
    let mut found = Link::None;
    while let Some(part) = links.next().filter(|part| *part != *folder) {
        if part.is_symlink() {
            if !part.exists() {
                return Link::Broken;
            }
            found = Link::Whole;
        }
    }
    found
}

impl Root {
    /// Says whether a path may lead below this folder while nobody can look.
    fn may_hold(&self, path: &Path) -> bool {
        let is_below = |root: PathBuf| path.starts_with(root);
        path.is_relative() || std::path::absolute(&self.path).is_ok_and(is_below)
    }
}

/// Says whether nothing is at a path, in place of something that could not be looked at.
fn is_of_path(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn failed(missing: ErrorKind, cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::NotFound => missing,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "read file").with_source(cause)
}

fn text_in(file: &Path) -> Result<Secret> {
    let failed = |cause| failed(ErrorKind::NotFound, cause);
    let opened = std::fs::File::open(file).map_err(failed)?;
    // Long enough for all of it: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    let limit = u64::try_from(LARGEST + 1).unwrap_or(u64::MAX);
    opened.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > LARGEST {
        return Err(invalid(format!(
            "it is larger than {LARGEST} bytes, which no secret is"
        )));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is no text in UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

/// Returns a text in a JSON object of texts.
fn value_of(text: &Secret, key: &str) -> Result<Secret> {
    let mut parser = serde_json::Deserializer::from_str(text.expose());
    // The error of the parser may repeat a value.
    let found = ValueOf(key)
        .deserialize(&mut parser)
        .and_then(|found| parser.end().map(|()| found))
        .map_err(|_| invalid("it is no JSON object with a text under this key"))?;
    match found {
        Some(mut value) => Ok(Secret::new(std::mem::take(&mut *value))),
        None => {
            Err(Error::new(ErrorKind::NotFound, "read file")
                .with_detail("its object has no such key"))
        }
    }
}

/// Reads the text under a key of an object, and passes over all others.
struct ValueOf<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = Option<Zeroizing<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ValueOf<'_> {
    type Value = Option<Zeroizing<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match key == self.0 {
                true => found = Some(map.next_value()?),
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidValue, "read file").with_detail(detail)
}

/// How often a file is looked for that is not there.
const TRIES: usize = 4;
const TRY_PAUSE: Duration = Duration::from_millis(1);

/// Vaults take no larger ones either.
const LARGEST: usize = 25 * 1024;
