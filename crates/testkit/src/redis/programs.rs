//! A server from the program of this machine.

use std::path::{Path, PathBuf};

use crate::daemon::{Daemon, Program};
use crate::ports::Port;
use crate::programs::folder_with;
use crate::{Result, Settings};

/// It goes into the background by itself, and leaves its number.
const START: &str = r#"cd "$FOLDER" && "$BIN/redis-server" redis.conf"#;

/// Returns the folder of the server program.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    let further = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    folder_with(&["redis-server"], settings.search_path(), further)
}

/// Starts a server. Blocks.
pub(super) fn start(
    folder: &Path,
    prefix: String,
    ports: Vec<Port>,
    files: Vec<(&'static str, String)>,
) -> Result<Daemon> {
    let variables = vec![("BIN", folder.into())];
    let program = Program::of_server(START, ports, variables, "redis.log");
    Daemon::start(program, prefix, |_| files)
}
