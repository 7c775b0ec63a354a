//! Azurite from its npm package, in a temporary folder.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::daemon::{Daemon, Program};
use crate::ports::Port;
use crate::programs::folder_with;
use crate::{Result, Settings};

const PROGRAM: &str = "azurite-blob";
/// Where `scripts/install-tools` puts it, from the home folder on.
const TOOLS: &str = ".local/share/tenantry-test/azurite/node_modules/.bin";

/// Returns the folder of the program.
///
/// Links are not followed: what npm puts among programs are links to scripts of other names.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    let tools = settings.home().map(|home| home.join(TOOLS));
    let on_path = settings.search_path().iter().cloned();
    folder_with(&[PROGRAM], &[], on_path.chain(tools))
}

/// Starts a server. Blocks.
pub(super) fn start(
    folder: PathBuf,
    settings: &Settings,
    port: Port,
    account: &str,
    files: Vec<(&'static str, String)>,
    options: &str,
) -> Result<Daemon> {
    let path = std::env::join_paths(settings.search_path()).unwrap_or_else(|_| OsString::new());
    // Headers that it does not know are ignored, as far as they only ask for more to be told:
    // checksums of ranges above all.
    let start = format!(
        r#"cd "$FOLDER" && {{ "$BIN/{PROGRAM}" --loose --silent --disableTelemetry --location data --blobHost 127.0.0.1 --blobPort {port} {options} >>azurite.log 2>&1 & echo $! >pid; }}"#
    );
    let program = Program {
        start: start.into(),
        ports: vec![port],
        variables: vec![
            ("BIN", folder.into()),
            ("PATH", path),
            ("AZURITE_ACCOUNTS", account.into()),
        ],
        log: "azurite.log",
        user: None,
        // Tests put blobs there that memory has no room for.
        in_memory: false,
    };
    Daemon::start(program, settings.prefix().to_owned(), |_| files)
}
