//! What every crate of Tenantry shares, and nothing that does I/O.

mod clock;
mod context;
mod error;
mod key;
mod secret;
pub mod telemetry;
mod tenant;

pub use self::clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use self::context::{Actor, CorrelationId, RequestContext, TraceParent};
pub use self::error::{Error, ErrorKind, Result};
pub use self::key::{SqlName, TenantKey};
pub use self::secret::{Secret, SecretLocation, SecretReference, SecretResolver, SecretScheme};
pub use self::telemetry::TenantLabel;
pub use self::tenant::TenantId;
