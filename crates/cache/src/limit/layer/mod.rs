//! The limiter as a layer of `tower`, before any service that speaks HTTP.

mod charge;
mod refusal;
mod service;

use std::fmt;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tenantry_core::{SharedClock, SystemClock};
use tower_layer::Layer;

pub use self::charge::Charge;
pub use self::refusal::{Refusal, Refuse, StatusAlone};
pub use self::service::RateLimited;

/// Limits the requests to a service, such as a router of axum.
///
/// A function says what each request is charged with: it is asked each time, so that limits can change
/// while the service runs.
///
/// | it returns | the request |
/// |---|---|
/// | `Ok(Some(charge))` | goes on if it passes all limits, and is refused if it does not |
/// | `Ok(None)` | goes on, and is not counted |
/// | `Err(status)` | is refused with this status, such as 401 where there is no tenant |
///
/// What is refused never reaches the service. An answer has the header fields `RateLimit-Policy` and
/// `RateLimit`, and a refusal `Retry-After` ([`Decision::headers`](crate::Decision::headers)); where layers
/// stand one in another, each adds its own.
///
/// The layer that finds the tenant comes before this one: in axum, it is added after it.
///
/// # Cancel safety
///
/// A request that is dropped was charged or it was not.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use axum::Router;
/// use axum::body::Body;
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::routing::get;
/// use tenantry_cache::{Charge, MemoryLimits, RateLimitLayer, RateLimiter, Rule};
/// use tenantry_core::TenantId;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
/// let rule = Rule::new("tenant", 1, Duration::from_secs(60))?;
/// let layer = RateLimitLayer::new(move |request: &Request| {
///     let tenant = request.extensions().get::<TenantId>().ok_or(StatusCode::UNAUTHORIZED)?;
///     Ok(Some(Charge::new(limiter.tenant(*tenant)).with_limit(&rule, "")))
/// });
/// let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
///
/// let tenant = TenantId::generate();
/// for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
///     let request = Request::builder().extension(tenant).body(Body::empty())?;
///     assert_eq!(app.clone().oneshot(request).await?.status(), status);
/// }
/// # Ok(())
/// # }
/// ```
pub struct RateLimitLayer<F, R = StatusAlone> {
    settings: Arc<Settings<F, R>>,
}

struct Settings<F, R> {
    charge: F,
    refuse: R,
    refund_on: fn(StatusCode) -> bool,
    clock: SharedClock,
}

impl<F> RateLimitLayer<F> {
    /// Charges each request with what the function says of it.
    #[must_use]
    pub fn new<B>(charge: F) -> Self
    where
        F: Fn(&Request<B>) -> Result<Option<Charge>, StatusCode>,
    {
        Self {
            settings: Arc::new(Settings {
                charge,
                refuse: StatusAlone,
                refund_on: |_| false,
                clock: Arc::new(SystemClock),
            }),
        }
    }

    /// Sets what makes the answer to a request that is refused: a status without a body by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::response::IntoResponse as _;
    /// use axum::extract::Request;
    /// use tenantry_cache::{RateLimitLayer, Refusal};
    ///
    /// let layer = RateLimitLayer::new(|_: &Request| Ok(None))
    ///     .with_refusal(|refusal: &Refusal| (refusal.status(), "come again later").into_response());
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn with_refusal<R, B>(self, refuse: R) -> RateLimitLayer<F, R>
    where
        R: Fn(&Refusal) -> Response<B>,
        F: Clone,
    {
        let Settings {
            charge,
            refund_on,
            clock,
            ..
        } = Arc::unwrap_or_clone(self.settings);
        RateLimitLayer {
            settings: Arc::new(Settings {
                charge,
                refuse,
                refund_on,
                clock,
            }),
        }
    }
}

impl<F: Clone, R: Clone> RateLimitLayer<F, R> {
    /// Sets after which answers the charge is taken back, such as those that tell of a fault of the
    /// service; before the answer goes out. After none by default.
    ///
    /// A limit whose window is over by then, and what was let in without a count, is left as it is; so it is
    /// where the service fails without an answer.
    #[must_use]
    pub fn with_refund_on(self, refund_on: fn(StatusCode) -> bool) -> Self {
        self.with(|settings| settings.refund_on = refund_on)
    }

    /// Sets the clock by which it is known how long an answer took.
    #[must_use]
    pub fn with_clock(self, clock: SharedClock) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    fn with(mut self, set: impl FnOnce(&mut Settings<F, R>)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<F: Clone, R: Clone> Clone for Settings<F, R> {
    fn clone(&self) -> Self {
        Self {
            charge: self.charge.clone(),
            refuse: self.refuse.clone(),
            refund_on: self.refund_on,
            clock: Arc::clone(&self.clock),
        }
    }
}

impl<F, R> Clone for RateLimitLayer<F, R> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
        }
    }
}

impl<F, R> fmt::Debug for RateLimitLayer<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").finish_non_exhaustive()
    }
}

impl<S, F, R> Layer<S> for RateLimitLayer<F, R> {
    type Service = RateLimited<S, F, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited::new(inner, Arc::clone(&self.settings))
    }
}
