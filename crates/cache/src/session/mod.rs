//! Sessions: the handle of a service, and what a backend does.

#[cfg(feature = "otel")]
mod counted;
#[cfg(not(feature = "otel"))]
#[path = "uncounted.rs"]
mod counted;
mod id;
mod policy;
mod record;
pub(crate) mod store;
mod tenant;
#[cfg(feature = "tower-sessions")]
mod tower;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tenantry_core::{Result, TenantId, TenantLabel};

pub use self::id::{SessionHash, SessionId};
pub use self::policy::SessionPolicy;
pub use self::record::{ListedSession, Session, SessionMetadata};
pub use self::store::{NewSession, SessionChange, SessionStore, SignIn, StoredSession};
pub use self::tenant::TenantSessions;
#[cfg(feature = "tower-sessions")]
pub use self::tower::TowerSessionStore;

/// Remembers the visitors of a service, whose data is of one type; cheap to clone.
///
/// The data is kept as JSON, so that old and new versions of a service read each other's as far as the
/// type allows: give new fields `#[serde(default)]`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use tenantry_cache::{MemorySessions, SessionPolicy, Sessions};
/// use tenantry_core::TenantId;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visitor {
///     basket: Vec<String>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let store = Arc::new(MemorySessions::new());
/// let sessions = Sessions::<Visitor>::new(store, SessionPolicy::default())?;
/// let tenant = sessions.tenant(TenantId::generate());
///
/// let mut session = tenant.create(Visitor::default()).await?;
/// session.data.basket.push("ink".to_owned());
/// tenant.sign_in(&mut session, "user:17").await?;         // under another id from here on
/// let cookie = session.id().expose();
///
/// let again = tenant.touch(&cookie.parse()?).await?.expect("the session");
/// assert_eq!(again.user(), Some("user:17"));
/// assert_eq!(again.data.basket, ["ink"]);
/// # Ok(())
/// # }
/// ```
pub struct Sessions<T> {
    store: Arc<dyn SessionStore>,
    /// The same, with its calls counted.
    counted: Arc<dyn SessionStore>,
    policy: SessionPolicy,
    data: PhantomData<fn() -> T>,
}

impl<T> Sessions<T> {
    /// Keeps sessions in this store, by this policy.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](tenantry_core::ErrorKind::InvalidSettings): the policy allows no time or no
    ///   bytes, more time without use than in all, or more than ten years.
    pub fn new(store: Arc<dyn SessionStore>, policy: SessionPolicy) -> Result<Self> {
        Ok(Self {
            counted: counted::by(&store, TenantLabel::none()),
            store,
            policy: policy.check()?,
            data: PhantomData,
        })
    }

    /// Sets which tenants the metrics count by name: none by default, and all together.
    #[must_use]
    pub fn with_tenant_label(mut self, label: TenantLabel) -> Self {
        self.counted = counted::by(&self.store, label);
        self
    }

    /// Returns the handle of one tenant.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantSessions<T> {
        TenantSessions {
            store: Arc::clone(&self.counted),
            policy: self.policy,
            tenant,
            data: PhantomData,
        }
    }
}

impl<T> Clone for Sessions<T> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            counted: Arc::clone(&self.counted),
            policy: self.policy,
            data: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("store", &self.store)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
