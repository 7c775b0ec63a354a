//! Tokens that run out while connections live on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tenantry_cache::{
    Cache, CachePolicy, RateLimiter, RedisLimits, RedisSettings, RedisToken, RedisTokens, Rule,
};
use tenantry_core::{Clock as _, Error, ErrorKind, Result, Secret, SystemClock, TenantId};
use tenantry_testkit::RedisServer;

use super::until;

/// How long a token lives.
const LIFE: Duration = Duration::from_secs(2);

/// How many of the newest tokens the server takes.
const TAKEN: usize = 4;

/// Whoever gives the tokens: the server takes the newest of them alone.
#[derive(Debug)]
struct Identity {
    server: RedisServer,
    given: AtomicUsize,
    is_down: AtomicBool,
}

impl Identity {
    async fn start() -> Arc<Self> {
        Arc::new(Self {
            server: RedisServer::start().await.unwrap(),
            given: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        })
    }

    fn settings(self: &Arc<Self>) -> RedisSettings {
        RedisSettings::new(format!("redis://{}", self.server.address()))
            .with_user("identity")
            .with_tokens_from(Arc::clone(self) as Arc<dyn RedisTokens>)
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    /// Returns how often something was done, as the server counts it.
    async fn count(&self, section: &str, name: &str) -> usize {
        let told = self.server.ask(&["info", section]).await.unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        let digits = line
            .unwrap_or("0")
            .trim_start_matches(|it: char| !it.is_ascii_digit());
        let end = digits.find(|it: char| !it.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().unwrap()
    }
}

#[async_trait]
impl RedisTokens for Identity {
    async fn token(&self) -> Result<RedisToken> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Throttled, "ask for token"));
        }
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let token = |number: usize| format!("hunter2 {number}");
        // Two ask, so that those before are some that have not run out yet.
        let shown: Vec<_> = (number.saturating_sub(TAKEN - 1)..=number)
            .map(|number| format!(">{}", token(number)))
            .collect();
        let mut user = vec![
            "acl", "setuser", "identity", "reset", "on", "~*", "&*", "+@all",
        ];
        user.extend(shown.iter().map(String::as_str));
        self.server.execute(&user).await.unwrap();
        let token = token(number);
        let expires_at = SystemClock.now() + LIFE;
        Ok(RedisToken::new(Secret::new(token), expires_at))
    }
}

/// Each is shown on the connections that there are, ahead of its time, and no call fails meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_shown_before_the_old_one_runs_out() {
    let identity = Identity::start().await;
    let settings = identity.settings();
    let cache = Cache::builder().with_redis(&settings).unwrap();
    let cache = cache.build().unwrap();
    let kind = cache
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let limits = RedisLimits::new(&settings.clone().with_connections(1)).unwrap();
    let limiter = RateLimiter::new(Arc::new(limits)).tenant(TenantId::generate());
    let rule = Rule::new("rule", 1_000_000, Duration::from_secs(60)).unwrap();

    let begun = Instant::now();
    let mut calls = 0;
    let mut connected = 0;
    while begun.elapsed() < 4 * LIFE {
        tenant.invalidate(&kind, "7").await.unwrap();
        let taken = limiter.take(&[rule.limit("")], 1).await.unwrap();
        assert!(taken.failure().is_none(), "{:?}", taken.failure());
        calls += 1;
        if calls == 100 {
            connected = identity.count("stats", "total_connections_received").await;
        }
    }
    // One for the cache and one for the limits, each ahead of its time.
    let given = identity.given();
    assert!((8..=20).contains(&given), "{given}");
    let shown = identity.count("commandstats", "cmdstat_auth:calls=").await;
    assert!(shown >= given, "{shown} of {given}");
    let set_up = identity
        .count("commandstats", "cmdstat_acl|setuser:calls=")
        .await;
    let now = identity.count("stats", "total_connections_received").await;
    // The link that hears others, and the connections of this test.
    let others = set_up + 4;
    assert!(
        now - connected <= given + others,
        "{connected} to {now}, {given} tokens, {calls} calls"
    );
    let told = format!("{settings:?} {cache:?} {limiter:?}");
    assert!(!told.contains("hunter2"), "{told}");
}

/// It is tried again, and connections that there are go on.
#[tokio::test]
async fn whoever_gives_no_token_is_asked_again() {
    let identity = Identity::start().await;
    let cache = Cache::builder().with_redis(&identity.settings()).unwrap();
    let cache = cache.build().unwrap();
    let tenant = cache.tenant(TenantId::generate());
    identity.is_down.store(true, Ordering::SeqCst);
    let error = tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error:?}");
    identity.is_down.store(false, Ordering::SeqCst);
    until(|| async { tenant.flush().await.is_ok() }).await;
    identity.is_down.store(true, Ordering::SeqCst);
    let given = identity.given();
    tokio::time::sleep(LIFE).await;
    tenant.flush().await.unwrap();
    identity.is_down.store(false, Ordering::SeqCst);
    until(|| async { identity.given() > given }).await;
    tenant.flush().await.unwrap();
}

/// One that was withdrawn, as the server says: another is asked for at once.
#[tokio::test]
async fn a_token_that_is_refused_is_replaced_at_once() {
    let identity = Identity::start().await;
    let settings = identity.settings();
    let limits = Arc::new(RedisLimits::new(&settings).unwrap());
    let limiter = RateLimiter::new(limits).tenant(TenantId::generate());
    let rule = Rule::new("rule", 1_000, Duration::from_secs(60)).unwrap();
    let takes = async || {
        let taken = limiter.take(&[rule.limit("")], 1).await.unwrap();
        taken.failure().is_none()
    };
    assert!(takes().await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let withdraw = ["acl", "setuser", "identity", "resetpass", ">another"];
    identity.server.execute(&withdraw).await.unwrap();
    let cut = ["client", "kill", "user", "identity"];
    identity.server.execute(&cut).await.unwrap();
    let begun = Instant::now();
    until(takes).await;
    assert!(begun.elapsed() < LIFE / 4, "{:?}", begun.elapsed());
}
