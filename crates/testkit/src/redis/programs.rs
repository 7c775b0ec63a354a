//! A server from the program of this machine, in a temporary folder.

use std::path::{Path, PathBuf};

use crate::keeper::{Keeper, Plan};
use crate::programs::{User, folder_with};
use crate::{Error, Result, Settings, StopMode};

const START: &str = r#"cd "$FOLDER" && "$BIN/redis-server" redis.conf"#;
/// Waits for the end of a server, of all its threads. Some first processes let the dead of others
/// wait for a while.
macro_rules! gone {
    () => {
        r#"while kill -0 "$PID" 2>/dev/null && { [ "$(ls "/proc/$PID/task" 2>/dev/null | wc -l)" != 1 ] || ! grep -q '^State:[[:space:]]*Z' "/proc/$PID/status" 2>/dev/null; }; do sleep 0.01; done; rm -f "$FOLDER/pid""#
    };
}
const GONE: &str = gone!();
/// Ends a server that may have been stopped before.
const END: &str = concat!(
    r#"PID=$(cat "$FOLDER/pid") && kill -KILL "$PID" && { "#,
    gone!(),
    "; }"
);

/// Returns the folder of the server program.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    let further = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    folder_with(&["redis-server"], settings.search_path(), further)
}

/// A running server and the keeper that stops it.
#[derive(Debug)]
pub(super) struct Programs(Keeper);

impl Programs {
    /// Starts a server. Blocks.
    pub(super) fn start(folder: &Path, prefix: String, config: &str) -> Result<Self> {
        let keeper = Keeper::start(&Plan {
            at_end: END,
            variables: vec![("BIN", folder.into())],
            inherit: false,
            user: User::for_servers(),
            in_memory: true,
            prefix,
        })?;
        std::fs::write(keeper.folder().join("redis.conf"), config)
            .map_err(|error| Error::because("cannot write the configuration of a server", error))?;
        keeper.run(START)?;
        Ok(Self(keeper))
    }

    pub(super) fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => "TERM",
            StopMode::Immediate => "KILL",
        };
        // A paused one takes the signal as it goes on.
        self.0.run(&format!(
            r#"PID=$(cat "$FOLDER/pid") && kill -{signal} "$PID" && kill -CONT "$PID" 2>/dev/null; {GONE}"#
        ))
    }

    pub(super) fn restart(&self) -> Result<()> {
        self.0.run(&format!(
            r#"if [ -e "$FOLDER/pid" ]; then PID=$(cat "$FOLDER/pid"); kill -KILL "$PID"; {GONE}; fi; {START}"#
        ))
    }

    pub(super) fn pause(&self) -> Result<()> {
        self.0.run(r#"kill -STOP "$(cat "$FOLDER/pid")""#)
    }

    pub(super) fn resume(&self) -> Result<()> {
        self.0.run(r#"kill -CONT "$(cat "$FOLDER/pid")""#)
    }

    pub(super) fn log(&self) -> String {
        self.0.tail("redis.log")
    }
}
