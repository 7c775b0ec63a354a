//! A server from the programs of this machine, in a temporary folder.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{ServerOptions, StopMode};
use crate::keeper::{Keeper, Plan};
use crate::ports::Port;
use crate::programs::{User, folder_with, versioned_postgres_folders};
use crate::{Error, Result, Settings, ports};

const INIT: &str = r#"printf %s "$PASSWORD" >"$FOLDER/password" && "$BIN/initdb" --no-sync --pgdata="$FOLDER/data" --username=postgres --pwfile="$FOLDER/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8"#;
const START: &str = r#""$BIN/pg_ctl" -D "$FOLDER/data" -l "$FOLDER/server.log" -s -w -t 60 start"#;
const STATUS: &str = r#""$BIN/pg_ctl" -D "$FOLDER/data" -s status"#;
const STOP_FAST: &str = r#""$BIN/pg_ctl" -D "$FOLDER/data" -s -w -t 60 -m fast stop"#;
const STOP_IMMEDIATE: &str = r#""$BIN/pg_ctl" -D "$FOLDER/data" -s -w -t 60 -m immediate stop"#;

/// Returns the folder of the newest server programs.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    let names = ["initdb", "pg_ctl", "postgres"];
    folder_with(&names, settings.search_path(), versioned_postgres_folders())
}

/// A running server and the keeper that stops it.
#[derive(Debug)]
pub(super) struct Programs {
    keeper: Keeper,
    port: Port,
}

impl Programs {
    /// Makes a cluster and starts it. Blocks.
    pub(super) fn start(
        folder: &Path,
        prefix: String,
        options: &ServerOptions,
        verifier: &str,
    ) -> Result<Self> {
        let keeper = Keeper::start(&Plan {
            at_end: STOP_IMMEDIATE,
            variables: vec![("BIN", folder.into()), ("PASSWORD", verifier.into())],
            inherit: false,
            user: User::for_servers(),
            in_memory: !options.durable,
            prefix,
        })?;
        keeper.run(INIT)?;
        configure(&keeper, &options.parameters())?;
        let port = start_on_free_port(&keeper)?;
        Ok(Self { keeper, port })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port.number()
    }

    pub(super) fn stop(&self, mode: StopMode) -> Result<()> {
        self.keeper.run(match mode {
            StopMode::Fast => STOP_FAST,
            StopMode::Immediate => STOP_IMMEDIATE,
        })
    }

    pub(super) fn restart(&self) -> Result<()> {
        if self.keeper.run(STATUS).is_ok() {
            self.keeper.run(STOP_FAST)?;
        }
        self.keeper
            .run(START)
            .map_err(|error| with_log(&self.keeper, error))
    }
}

fn configure(keeper: &Keeper, parameters: &[(String, String)]) -> Result<()> {
    // No socket in the file system: its path would be too long in some temporary folders.
    let mut text = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n".to_owned();
    for (name, value) in parameters {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    append(keeper, &text)
}

/// Another process may take the port between the look and the start; then another port is tried.
fn start_on_free_port(keeper: &Keeper) -> Result<Port> {
    let mut attempts = 5;
    loop {
        let port = ports::free()?;
        append(keeper, &format!("port = {port}\n"))?;
        let Err(error) = keeper.run(START) else {
            return Ok(port);
        };
        attempts -= 1;
        if attempts == 0 || !keeper.tail("server.log").contains("could not bind") {
            return Err(with_log(keeper, error));
        }
    }
}

fn append(keeper: &Keeper, text: &str) -> Result<()> {
    OpenOptions::new()
        .append(true)
        .open(keeper.folder().join("data/postgresql.conf"))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::because("cannot write the configuration of a server", error))
}

fn with_log(keeper: &Keeper, error: Error) -> Error {
    let log = keeper.tail("server.log");
    Error::because(
        format!("the PostgreSQL server did not start, its log says\n{log}"),
        error,
    )
}
