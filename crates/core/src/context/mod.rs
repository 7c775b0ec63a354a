//! Who asks, and within which request.

mod name;
mod trace;

use std::sync::{Arc, LazyLock};

pub use self::name::{Actor, CorrelationId};
pub use self::trace::TraceParent;

/// What a store operation is told of the request it serves: who acts, and within which trace.
///
/// The actor and the trace go into audit columns, all of it into outbox messages. The tenant is not in it: that is the
/// handle's, see [`TenantId`](crate::TenantId). A clone costs one reference count.
///
/// # Examples
///
/// ```
/// use tenantry_core::{Actor, CorrelationId, RequestContext};
///
/// let context = RequestContext::new(Actor::new("user:0190b5a4")?)
///     .with_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?)
///     .with_correlation_id(CorrelationId::new("order-4711")?);
/// assert_eq!(context.actor().as_str(), "user:0190b5a4");
/// assert!(context.trace().is_some_and(|trace| trace.is_sampled()));
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    fields: Arc<Fields>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    actor: Actor,
    trace: Option<TraceParent>,
    correlation_id: Option<CorrelationId>,
}

impl RequestContext {
    /// Returns the context of a request of `actor`, with no trace and no correlation id.
    #[must_use]
    pub fn new(actor: Actor) -> Self {
        Self {
            fields: Arc::new(Fields {
                actor,
                trace: None,
                correlation_id: None,
            }),
        }
    }

    /// Returns the context of work that no one asked for: jobs, workers, migrations.
    #[must_use]
    pub fn system() -> Self {
        // Made once: every scope starts with it.
        static SYSTEM: LazyLock<RequestContext> =
            LazyLock::new(|| RequestContext::new(Actor::system()));
        SYSTEM.clone()
    }

    /// Sets who acts.
    #[must_use]
    pub fn with_actor(mut self, actor: Actor) -> Self {
        Arc::make_mut(&mut self.fields).actor = actor;
        self
    }

    /// Sets the trace that the request belongs to.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceParent) -> Self {
        Arc::make_mut(&mut self.fields).trace = Some(trace);
        self
    }

    /// Sets the identifier that the caller knows the request by.
    #[must_use]
    pub fn with_correlation_id(mut self, correlation_id: CorrelationId) -> Self {
        Arc::make_mut(&mut self.fields).correlation_id = Some(correlation_id);
        self
    }

    /// Returns who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.fields.actor
    }

    /// Returns the trace that the request belongs to.
    #[must_use]
    pub fn trace(&self) -> Option<TraceParent> {
        self.fields.trace
    }

    /// Returns the identifier that the caller knows the request by.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&CorrelationId> {
        self.fields.correlation_id.as_ref()
    }
}

impl Default for RequestContext {
    /// Returns [`RequestContext::system`].
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_the_system_without_a_trace() {
        let context = RequestContext::default();
        assert_eq!(context.actor(), &Actor::system());
        assert_eq!((context.trace(), context.correlation_id()), (None, None));
    }

    #[test]
    fn changing_a_clone_leaves_the_original() {
        let original = RequestContext::system();
        let changed = original.clone().with_actor(Actor::new("user:1").unwrap());
        assert_eq!(original.actor().as_str(), "system");
        assert_eq!(changed.actor().as_str(), "user:1");
        assert_eq!(RequestContext::system(), original);
    }
}
