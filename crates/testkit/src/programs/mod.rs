//! Finding server programs, and the user to run them as.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder which holds all of `names`, or `None`.
///
/// The folders of `search_path` come first, with symbolic links followed, because a package
/// manager may link one program and leave its companions where they are; `further` comes after.
pub(crate) fn folder_with(
    names: &[&str],
    search_path: &[PathBuf],
    further: impl IntoIterator<Item = PathBuf>,
) -> Option<PathBuf> {
    let linked = search_path.iter().filter_map(|folder| {
        folder
            .join(names.first()?)
            .canonicalize()
            .ok()?
            .parent()
            .map(Path::to_owned)
    });
    linked
        .chain(further)
        .find(|folder| names.iter().all(|name| folder.join(name).is_file()))
}

/// Returns the folders `/usr/lib/postgresql/<version>/bin` and their like, newest first.
pub(crate) fn versioned_postgres_folders() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (root, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(root) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            if let Some(version) = version {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// A user of this machine, by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Returns the user to run a server as: `None` for whoever runs the test, and somebody
    /// without privileges when that is root, whom the servers refuse.
    pub(crate) fn for_servers() -> Option<Self> {
        if number("-u", None)? != 0 {
            return None;
        }
        ["postgres", "nobody"].into_iter().find_map(|name| {
            Some(Self {
                uid: number("-u", Some(name))?,
                gid: number("-g", Some(name))?,
            })
        })
    }
}

fn number(option: &str, user: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(option).args(user).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
