//! The backends in this process.

mod limits;
mod sessions;

pub use self::limits::MemoryLimits;
pub use self::sessions::MemorySessions;
