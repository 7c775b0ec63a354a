//! How long a blob is kept, by what, and why.

mod act;
mod class;
mod explain;
mod hold;
mod moment;
mod rules;
mod state;

pub(crate) use self::act::TracedAudit;
pub use self::act::{RetentionAct, RetentionAction, RetentionAudit};
pub(crate) use self::class::later;
pub use self::class::{Retention, RetentionClass};
#[cfg(feature = "lifecycle")]
pub(crate) use self::explain::reasons;
pub use self::explain::{RetainedBy, WhyRetained};
pub use self::hold::{HoldTag, LegalHold};
#[cfg(feature = "artifacts")]
pub(crate) use self::moment::nearest_stored;
pub(crate) use self::moment::stored;
pub use self::state::{LockMode, RetentionReceipt, RetentionState};

#[cfg(test)]
mod tests;
