//! Azurite from its npm package, in a temporary folder.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::daemon::gone;
use crate::keeper::{Keeper, Plan};
use crate::programs::folder_with;
use crate::{Error, Result, Settings, StopMode};

const PROGRAM: &str = "azurite-blob";
/// Where `scripts/install-tools` puts it, from the home folder on.
const TOOLS: &str = ".local/share/tenantry-test/azurite/node_modules/.bin";

const GONE: &str = gone!();
const END: &str = concat!(
    r#"PID=$(cat "$FOLDER/pid") && kill -KILL "$PID" && { "#,
    gone!(),
    "; }"
);

/// Returns the folder of the program.
///
/// Links are not followed: what npm puts among programs are links to scripts of other names.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    let tools = settings.home().map(|home| home.join(TOOLS));
    let on_path = settings.search_path().iter().cloned();
    folder_with(&[PROGRAM], &[], on_path.chain(tools))
}

/// A running server and the keeper that stops it.
#[derive(Debug)]
pub(super) struct Programs {
    keeper: Keeper,
    start: String,
}

impl Programs {
    /// Starts a server. Blocks.
    pub(super) fn start(
        folder: PathBuf,
        settings: &Settings,
        port: u16,
        account: &str,
        files: &[(&str, &str)],
        options: &str,
    ) -> Result<Self> {
        let path = std::env::join_paths(settings.search_path()).unwrap_or_else(|_| OsString::new());
        let keeper = Keeper::start(&Plan {
            at_end: END,
            variables: vec![
                ("BIN", folder.into()),
                ("PATH", path),
                ("AZURITE_ACCOUNTS", account.into()),
            ],
            inherit: false,
            user: None,
            in_memory: false,
            prefix: settings.prefix().to_owned(),
        })?;
        for (name, text) in files {
            std::fs::write(keeper.folder().join(name), text)
                .map_err(|error| Error::because("cannot write a file of a server", error))?;
        }
        // Headers that it does not know are ignored, as far as they only ask for more to be told:
        // checksums of ranges above all.
        let start = format!(
            r#"cd "$FOLDER" && {{ "$BIN/{PROGRAM}" --loose --silent --disableTelemetry --location data --blobHost 127.0.0.1 --blobPort {port} {options} >>azurite.log 2>&1 & echo $! >pid; }}"#
        );
        keeper.run(&start)?;
        Ok(Self { keeper, start })
    }

    pub(super) fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => "TERM",
            StopMode::Immediate => "KILL",
        };
        self.keeper.run(&format!(
            r#"PID=$(cat "$FOLDER/pid") && kill -{signal} "$PID" && kill -CONT "$PID" 2>/dev/null; {GONE}"#
        ))
    }

    pub(super) fn restart(&self) -> Result<()> {
        let start = &self.start;
        self.keeper.run(&format!(
            r#"if [ -e "$FOLDER/pid" ]; then PID=$(cat "$FOLDER/pid"); kill -KILL "$PID"; {GONE}; fi; {start}"#
        ))
    }

    pub(super) fn log(&self) -> String {
        self.keeper.tail("azurite.log")
    }
}
