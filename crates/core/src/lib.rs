//! What every crate of Tenantry shares, and nothing that does I/O.
//!
//! Tenantry is the storage layer of a multi-tenant product. Its stores live in crates of their
//! own; this one holds the values that pass between them, so that a tenant, a secret or an error
//! means the same in each. A service usually meets them through the facade, `tenantry`.
//!
//! # Parts
//!
//! | what | types | why it is here |
//! |---|---|---|
//! | the tenant | [`TenantId`] | cannot be nil, empty or parsed from junk |
//! | the request | [`RequestContext`], [`Actor`], [`TraceParent`], [`CorrelationId`] | who acts and in which trace, handed in and never ambient |
//! | keys and names | [`TenantKey`], [`SqlName`] | built in one place, with escaping that cannot collide |
//! | time | [`Clock`], [`SystemClock`], [`ManualClock`] | handed in, so that tests move it |
//! | secrets | [`SecretReference`], [`Secret`], [`SecretResolver`], [`SecretSource`] | the reference may be stored, the secret cannot, and a rotated one is followed |
//! | the storage map | [`STORAGE_MAP`], [`Store`], [`Service`] | owner, access and retention of each store, as data |
//! | observability | [`telemetry`], [`TenantLabel`] | one set of names, and a bounded tenant label |
//! | errors | [`Error`], [`ErrorKind`] | one enum to match on, whatever store failed |
//!
//! # What it is not
//!
//! It opens no file and no connection, reads no environment, and knows no driver. It has no
//! "current tenant": a [`TenantId`] is passed, and owned by the handle that works for it.
//! It does not decide whether a tenant exists or who belongs to it; that is for the service.
//!
//! # Examples
//!
//! ```
//! use tenantry_core::{Actor, RequestContext, TenantId, TenantKey};
//!
//! // At the edge of the service, from what was authenticated:
//! let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
//! let context = RequestContext::new(Actor::new("user:17")?);
//!
//! // Anywhere below:
//! let key = TenantKey::new(tenant, "session")?.segment(context.actor().as_str());
//! assert_eq!(key.as_str(), "t:0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a:session:user%3A17");
//! # Ok::<(), tenantry_core::Error>(())
//! ```

mod tenant;

mod context;

mod key;

mod clock;

mod secret;

mod storage_map;

pub mod telemetry;

mod error;

pub use self::clock::{COARSE_LAG, Clock, ManualClock, SharedClock, SystemClock};
pub use self::context::{Actor, CorrelationId, RequestContext, TraceParent};
pub use self::error::{Error, ErrorKind, Result};
pub use self::key::{SqlName, TenantKey};
pub use self::secret::{
    RetiringGeneration, Secret, SecretGeneration, SecretGenerations, SecretLocation,
    SecretReference, SecretResolver, SecretScheme, SecretSource, SecretWatch,
};
pub use self::storage_map::{
    AccessPattern, BackendKind, Owners, Retention, STORAGE_MAP, Service, Store, StoreDescriptor,
};
pub use self::telemetry::TenantLabel;
pub use self::tenant::TenantId;
