use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rust_decimal::Decimal;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock};
use uuid::Uuid;

use super::LONGEST;
use crate::statement::DECIMAL_COLLATION;

/// Where an SQLite database lies, and how to use it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_store::SqliteSettings;
///
/// let settings = SqliteSettings::file("/var/lib/billing/tenants.db")
///     .with_busy_timeout(Duration::from_secs(2));
/// # drop(settings);
/// ```
#[derive(Clone)]
pub struct SqliteSettings {
    place: Place,
    pub(super) max_readers: u32,
    busy_timeout: Duration,
    pub(super) acquire_timeout: Duration,
    pub(super) statement_timeout: Option<Duration>,
    power_safe: bool,
    pub(super) clock: SharedClock,
    pub(super) cursor_key: Vec<u8>,
    #[cfg(feature = "guard")]
    pub(super) shared_tables: Vec<String>,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Temporary(Arc<TemporaryFolder>),
    Memory(Arc<MemoryDatabase>),
}

impl SqliteSettings {
    /// Names a file, in a folder that is there; not `:memory:`, nor a URI.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::at(Place::File(path.as_ref().to_owned()))
    }

    /// Names a new file in the folder for temporary files, which is removed with the last store
    /// and settings that know it.
    #[must_use]
    pub fn temporary() -> Self {
        Self::at(Place::Temporary(Arc::new(TemporaryFolder::new())))
    }

    /// Names a new database in memory, which is gone with the last store and settings that know it.
    ///
    /// In memory there is no write-ahead log: while a unit of work that writes is open, reads
    /// outside it wait for it, and answer `Locked` after the busy time-out. Where that matters
    /// take [`temporary`](Self::temporary).
    #[must_use]
    pub fn in_memory() -> Self {
        Self::at(Place::Memory(Arc::new(MemoryDatabase::new())))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            max_readers: 4,
            busy_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: None,
            power_safe: true,
            clock: Arc::new(SystemClock),
            cursor_key: Vec::new(),
            #[cfg(feature = "guard")]
            shared_tables: Vec::new(),
        }
    }

    /// Lets hand-written SQL read a table without tenants: one of the platform's, such as a list of
    /// editions. It is not written to through the guard.
    #[cfg(feature = "guard")]
    #[must_use]
    pub fn with_shared_table(mut self, name: impl Into<String>) -> Self {
        self.shared_tables.push(name.into());
        self
    }

    /// Sets the number of connections that read, 4 by default, at least 1; there is one that
    /// writes.
    #[must_use]
    pub const fn with_max_readers(mut self, readers: u32) -> Self {
        self.max_readers = readers;
        self
    }

    /// Sets how long to wait for the lock of the file when another process holds it, 5 s by
    /// default.
    #[must_use]
    pub const fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a call waits for a connection, 5 s by default.
    #[must_use]
    pub const fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets the longest time for a statement; no limit by default.
    #[must_use]
    pub const fn with_statement_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Lets a commit return before the disk has it: faster, and after a loss of power the last
    /// commits may be missing. The file stays sound either way.
    #[must_use]
    pub const fn with_relaxed_durability(mut self) -> Self {
        self.power_safe = false;
        self
    }

    /// Sets the clock that stamps the audit columns.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the key that seals cursors, the same for all instances of a service.
    #[must_use]
    pub fn with_cursor_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.cursor_key = key.into();
        self
    }

    /// Returns the path of the file, `None` for what is gone with the process.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Memory(_) | Place::Temporary(_) => None,
        }
    }

    /// Refuses names that SQLite takes for something else than a file.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        let Place::File(path) = &self.place else {
            return Ok(());
        };
        let name = path.to_string_lossy();
        let advice = if name.is_empty() || name == ":memory:" {
            "every connection would have a database of its own: take `in_memory()` or \
             `temporary()` instead of `file` with this name"
        } else if name.starts_with("file:") {
            "SQLite takes the name of the file for a URI: give a path, or take `in_memory()` or \
             `temporary()`"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidSettings, operation).with_detail(advice))
    }

    /// Opens the first connection, which creates the database and sets its journal mode.
    pub(super) async fn create(&self) -> Result<(), sqlx::Error> {
        let connection = self.connect_options().connect().await?;
        match &self.place {
            Place::Memory(database) => {
                database.anchor.lock().get_or_insert(connection);
                Ok(())
            }
            Place::File(_) | Place::Temporary(_) => connection.close().await,
        }
    }

    pub(super) fn location(&self) -> PathBuf {
        match &self.place {
            Place::File(path) => path.clone(),
            Place::Temporary(folder) => folder.path.join("tenants.db"),
            Place::Memory(database) => PathBuf::from(&database.name),
        }
    }

    /// Returns what opens a database that is there, and leaves its journal mode as it is.
    pub(super) fn existing_options(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(self.location())
            .busy_timeout(self.busy_timeout.min(LONGEST))
            .foreign_keys(true)
            .collation(DECIMAL_COLLATION, compare_decimals)
            .disable_statement_logging();
        match &self.place {
            Place::Memory(_) => options.vfs("memdb"),
            Place::File(_) | Place::Temporary(_) => options,
        }
    }

    pub(super) fn connect_options(&self) -> SqliteConnectOptions {
        if let Place::Temporary(folder) = &self.place {
            folder.create();
        }
        let options = self.existing_options().create_if_missing(true);
        if matches!(self.place, Place::Memory(_)) {
            return options;
        }
        let synchronous = if self.power_safe {
            SqliteSynchronous::Full
        } else {
            SqliteSynchronous::Normal
        };
        options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
    }
}

impl fmt::Debug for SqliteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSettings")
            .field("place", &self.place)
            .field("max_readers", &self.max_readers)
            .field("busy_timeout", &self.busy_timeout)
            .finish_non_exhaustive()
    }
}

/// Orders decimals by value; what is no decimal comes after them, by its bytes, so that the order
/// stays total whatever the table holds.
fn compare_decimals(left: &str, right: &str) -> std::cmp::Ordering {
    let parse = |text: &str| text.parse::<Decimal>().ok();
    match (parse(left), parse(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

/// A database in memory, which lives as long as a connection to it.
struct MemoryDatabase {
    name: String,
    anchor: Mutex<Option<SqliteConnection>>,
}

impl MemoryDatabase {
    fn new() -> Self {
        Self {
            name: format!("/tenantry-{}", Uuid::new_v4()),
            anchor: Mutex::new(None),
        }
    }
}

impl fmt::Debug for MemoryDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A folder that is removed with its last owner.
#[derive(Debug)]
pub(super) struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    fn new() -> Self {
        Self {
            path: std::env::temp_dir().join(format!("tenantry-{}", Uuid::new_v4())),
        }
    }

    /// Creates the folder; if that fails, opening the file in it says so.
    fn create(&self) {
        let _ = std::fs::create_dir_all(&self.path);
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure, and the system empties the folder some day.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
