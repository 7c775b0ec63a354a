//! A server from the program of this machine, in a temporary folder, by its process number.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;

use crate::keeper::{Keeper, Plan};
use crate::ports::Port;
use crate::programs::User;
use crate::{Error, Result, StopMode};

/// Waits for the end of a server, of all its threads. Some first processes let the dead of others
/// wait for a while.
macro_rules! gone {
    () => {
        r#"while kill -0 "$PID" 2>/dev/null && { [ "$(ls "/proc/$PID/task" 2>/dev/null | wc -l)" != 1 ] || ! grep -q '^State:[[:space:]]*Z' "/proc/$PID/status" 2>/dev/null; }; do sleep 0.01; done; rm -f "$FOLDER/pid""#
    };
}
const GONE: &str = gone!();

/// Ends a server that may have been stopped before, and a process that goes with it.
const END: &str = concat!(
    r#"PID=$(cat "$FOLDER/pid") && kill -KILL "$PID" && { "#,
    gone!(),
    r#"; }; PID=$(cat "$FOLDER/companion") && kill -KILL "$PID""#
);

/// Halts a server. A signal stops one thread after another: the last may answer until its turn comes.
const HALT: &str = r#"PID=$(cat "$FOLDER/pid") && kill -STOP "$PID" && while grep -qs '^State:[[:space:]]*[A-SU-Y]' "/proc/$PID/task/"*/status; do sleep 0.01; done"#;

/// What is run, and what it finds in its folder.
pub(crate) struct Program {
    /// A line of shell that starts the server and leaves its number in `$FOLDER/pid`.
    pub(crate) start: Cow<'static, str>,
    /// Where it listens.
    pub(crate) ports: Vec<Port>,
    /// Variables of that line.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    /// The file that it writes what it does to.
    pub(crate) log: &'static str,
    /// Who it runs as.
    pub(crate) user: Option<User>,
    /// Whether its folder is better held in memory than on a disk.
    pub(crate) in_memory: bool,
}

impl Program {
    /// Returns a program that runs as servers do, in memory where there is room.
    pub(crate) fn of_server(
        start: &'static str,
        ports: Vec<Port>,
        variables: Vec<(&'static str, OsString)>,
        log: &'static str,
    ) -> Self {
        Self {
            start: start.into(),
            ports,
            variables,
            log,
            user: User::for_servers(),
            in_memory: true,
        }
    }
}

/// A running server and the keeper that stops it.
#[derive(Debug)]
pub(crate) struct Daemon {
    keeper: Keeper,
    /// Behind the keeper, which ends the server.
    _ports: Vec<Port>,
    start: Cow<'static, str>,
    log: &'static str,
}

impl Daemon {
    /// Starts a server; `config` is given the folder, and returns files for it. Blocks.
    pub(crate) fn start(
        program: Program,
        prefix: String,
        config: impl FnOnce(&Path) -> Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let keeper = Keeper::start(&Plan {
            at_end: END,
            variables: program.variables,
            inherit: false,
            user: program.user,
            in_memory: program.in_memory,
            prefix,
        })?;
        for (name, text) in config(keeper.folder()) {
            std::fs::write(keeper.folder().join(name), text).map_err(|error| {
                Error::because("cannot write the configuration of a server", error)
            })?;
        }
        keeper.run(&program.start)?;
        Ok(Self {
            keeper,
            _ports: program.ports,
            start: program.start,
            log: program.log,
        })
    }

    pub(crate) fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => "TERM",
            StopMode::Immediate => "KILL",
        };
        // A paused one takes the signal as it goes on.
        self.keeper.run(&format!(
            r#"PID=$(cat "$FOLDER/pid") && kill -{signal} "$PID" && kill -CONT "$PID" 2>/dev/null; {GONE}"#
        ))
    }

    pub(crate) fn restart(&self) -> Result<()> {
        let start = &self.start;
        self.keeper.run(&format!(
            r#"if [ -e "$FOLDER/pid" ]; then PID=$(cat "$FOLDER/pid"); kill -KILL "$PID"; {GONE}; fi; {start}"#
        ))
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.keeper.run(HALT)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.keeper.run(r#"kill -CONT "$(cat "$FOLDER/pid")""#)
    }

    pub(crate) fn log(&self) -> String {
        self.keeper.tail(self.log)
    }

    /// Returns whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.keeper.run(r#"kill -0 "$(cat "$FOLDER/pid")""#).is_ok()
    }
}
