//! The process that outlives ours by a moment, to stop what we started.
//!
//! A keeper is a small shell at the other end of a pipe. It runs the commands we send, one after
//! the other, and answers with their exit codes. When the pipe closes, because the value was
//! dropped or because this process died in whatever way, it runs its last command and removes its
//! folder. As the same shell starts and stops the server, no order of events leaves one behind.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::programs::User;
use crate::{Error, Result};

/// `$1` is the last command. A closed pipe must not kill the shell before it has cleaned up, and
/// a terminal's interrupt is for the test, not for the keeper.
const SHELL: &str = r#"
trap '' PIPE INT HUP
while IFS= read -r command; do
    (eval "$command") </dev/null >>"$FOLDER/keeper.log" 2>&1
    echo $?
done
(eval "$1") </dev/null >>"$FOLDER/keeper.log" 2>&1
rm -rf "$FOLDER"
"#;

/// What a [`Keeper`] needs to begin.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What stops the server, as a line of shell.
    pub(crate) at_end: &'static str,
    /// Variables for the commands; `FOLDER` is always set.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    /// Whether the commands see the environment of this process beside them.
    pub(crate) inherit: bool,
    /// Who runs the commands.
    pub(crate) user: Option<User>,
    /// Whether the folder is better held in memory than on a disk.
    pub(crate) in_memory: bool,
    /// What the folder's name begins with.
    pub(crate) prefix: String,
}

/// A shell that runs commands in a temporary folder of its own, until it is dropped.
pub(crate) struct Keeper {
    folder: PathBuf,
    shell: Mutex<Shell>,
}

struct Shell {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the shell. Blocks for as long as a fork takes.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let root = plan
            .in_memory
            .then(memory)
            .flatten()
            .unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new()
            .prefix(&plan.prefix)
            .tempdir_in(root)
            .map_err(|error| Error::because("cannot make a temporary folder", error))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SHELL, "keeper", plan.at_end])
            .current_dir("/")
            // A group of its own: a signal for the test's whole group leaves the keeper its turn.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if !plan.inherit {
            command
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("LC_ALL", "C");
        }
        command.envs(plan.variables.iter().map(|(name, value)| (name, value)));
        command.env("FOLDER", folder.path());
        if let Some(User { uid, gid }) = plan.user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).map_err(|error| {
                Error::because(
                    "cannot give the temporary folder to the server's user",
                    error,
                )
            })?;
            command.uid(uid).gid(gid);
        }
        let mut child = command
            .spawn()
            .map_err(|error| Error::because("cannot start a shell to watch a server", error))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new("a shell was started without its pipes"));
        };
        Ok(Self {
            // From here on the shell removes the folder.
            folder: folder.keep(),
            shell: Mutex::new(Shell {
                child,
                commands: Some(commands),
                answers: BufReader::new(answers),
            }),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs one line of shell and waits for its end. Blocks.
    pub(crate) fn run(&self, command: &str) -> Result<()> {
        debug_assert!(!command.contains('\n'), "one line at a time");
        let answer = self
            .shell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ask(command)
            .map_err(|error| Error::because("the shell that watches a server is gone", error))?;
        if answer.trim() == "0" {
            return Ok(());
        }
        let log = self.tail("keeper.log");
        Err(Error::new(format!(
            "`{command}` failed with code {}\n{log}",
            answer.trim()
        )))
    }

    /// Returns the last lines of a file in the folder, for messages.
    pub(crate) fn tail(&self, file: &str) -> String {
        const LINES: usize = 20;
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Shell {
    fn ask(&mut self, command: &str) -> std::io::Result<String> {
        if let Some(commands) = &mut self.commands {
            writeln!(commands, "{command}")?;
            commands.flush()?;
        }
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Keeper {
    /// Waits until the server has stopped and the folder is gone.
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.commands = None;
        // The shell ignores every failure of its own, so there is none to report.
        let _ = shell.child.wait();
    }
}

/// Returns a folder in memory with room for a few servers, where the system has one.
///
/// A database is some 300 files: on a busy disk they take ten times longer to make.
fn memory() -> Option<PathBuf> {
    const ROOM_KIB: u64 = 4 << 20;
    let folder = PathBuf::from("/dev/shm");
    let output = Command::new("df")
        .args(["-Pk".as_ref(), folder.as_os_str()])
        .output()
        .ok()?;
    let table = String::from_utf8(output.stdout).ok()?;
    let fields: Vec<&str> = table.lines().nth(1)?.split_whitespace().collect();
    let available: u64 = fields.get(3)?.parse().ok()?;
    (available >= ROOM_KIB).then_some(folder)
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
