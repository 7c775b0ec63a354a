//! What is printed: no secret, no id, no user and no data, whatever is asked for.

#![cfg(all(feature = "redis", feature = "tower-sessions", feature = "redis-tls"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::error::Error as _;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenantry_cache::{
    Cache, CacheKind, CachePolicy, LeasePolicy, LeasedLimits, MemorySessions, NewSession,
    RateLimiter, RedisLimits, RedisSessions, RedisSettings, RedisToken, Rule, SessionChange,
    SessionPolicy, SessionStore, Sessions, SignIn, StoredSession, TowerSessionStore,
};
use tenantry_core::{Error, Secret, TenantId};
use tenantry_testkit::RedisServer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const CANARY: &str = "c4n4ry";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Log {
    type Writer = Self;
    fn make_writer(&'l self) -> Self {
        self.clone()
    }
}

#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn shows(&mut self, what: &str, it: &impl Debug) {
        for text in [format!("{it:?}"), format!("{it:#?}")] {
            if text.contains(CANARY) {
                self.0.push(format!("{what}: {text}"));
            }
        }
    }

    fn fails(&mut self, what: &str, error: &Error) {
        self.shows(what, error);
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(it) = cause {
            text.push_str(&format!(" <- {it} {it:?}"));
            cause = it.source();
        }
        if text.contains(CANARY) {
            self.0.push(format!("{what}: {text}"));
        }
    }
}

#[tokio::test]
async fn nothing_that_is_printed_tells_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told = Told::default();
    let server = RedisServer::shared().await.unwrap();
    let address = server.address();
    let tenant = TenantId::generate();

    // Settings, and what is built of them.
    let urls = [
        format!("redis://{CANARY}:{CANARY}@{address}"),
        format!("redis://:{CANARY}@127.0.0.1:1"),
        format!("redis://:{CANARY}@nobody.invalid:6379/0"),
        format!("rediss://:{CANARY}@{address}"),
        format!("rediss://:{CANARY}@{address}/#insecure"),
        format!("redis://:{CANARY}@{address}/{CANARY}"),
        format!("redis://:{CANARY}/x@{address}"),
        format!("redis://:{CANARY}#x@{address}"),
        format!("redis://:{CANARY}?x@{address}"),
        format!("redis://user:1234?{CANARY}@{address}"),
        format!("redis://user:1234#{CANARY}@{address}"),
        format!("redis://user:1234/{CANARY}@{address}"),
        format!("redis://user:pass@{address}?pass={CANARY}"),
        format!("unix:///nowhere.sock?user={CANARY}&pass={CANARY}"),
        format!("valkeys://:{CANARY}@{address}"),
        format!("http://:{CANARY}@{address}"),
        format!(":{CANARY}@{address}"),
        CANARY.to_owned(),
        format!(" redis://:{CANARY}@{address}"),
        format!("redis://:{CANARY}%FF@{address}"),
        format!("redis://user:{CANARY}"),
    ];
    for url in &urls {
        let plain = RedisSettings::new(url).with_timeout(Duration::from_millis(300));
        let given = plain
            .clone()
            .with_password(Secret::new(CANARY))
            .with_user(CANARY);
        for settings in [plain, given] {
            told.shows(url, &settings);
            match settings.acl_rules() {
                Ok(rules) => told.shows(url, &rules),
                Err(error) => told.fails(url, &error),
            }
            match RedisLimits::new(&settings) {
                Err(error) => told.fails(url, &error),
                Ok(limits) => {
                    told.shows(url, &limits);
                    let rule = Rule::new("rule", 10_000, Duration::from_secs(1)).unwrap();
                    let limiter = RateLimiter::new(Arc::new(limits));
                    told.shows(url, &limiter);
                    let taken = limiter
                        .tenant(tenant)
                        .take(&[rule.limit("")], 1)
                        .await
                        .unwrap();
                    told.shows(url, &taken);
                    if let Some(error) = taken.failure() {
                        told.fails(url, error);
                    }
                    let refunded = limiter.tenant(tenant).refund(&[rule.limit("")], 1).await;
                    if let Err(error) = refunded {
                        told.fails(url, &error);
                    }
                    let policy = LeasePolicy::new(std::num::NonZeroU32::MIN);
                    let leased =
                        LeasedLimits::new(Arc::new(RedisLimits::new(&settings).unwrap()), policy);
                    told.shows(url, &leased);
                    let limiter = RateLimiter::new(Arc::new(leased));
                    let taken = limiter
                        .tenant(tenant)
                        .take(&[rule.limit("")], 1)
                        .await
                        .unwrap();
                    told.shows(url, &taken);
                    if let Some(error) = taken.failure() {
                        told.fails(url, error);
                    }
                }
            }
            match RedisSessions::new(&settings) {
                Err(error) => told.fails(url, &error),
                Ok(store) => {
                    told.shows(url, &store);
                    let policy = SessionPolicy::default();
                    let sessions = Sessions::<String>::new(Arc::new(store), policy).unwrap();
                    told.shows(url, &sessions);
                    let of_tenant = sessions.tenant(tenant);
                    told.shows(url, &of_tenant);
                    told.shows(url, &TowerSessionStore::new(&of_tenant));
                    match of_tenant.create_for(CANARY, CANARY.to_owned()).await {
                        Ok(session) => told.shows(url, &session),
                        Err(error) => told.fails(url, &error),
                    }
                }
            }
            match Cache::builder().with_redis(&settings) {
                Err(error) => told.fails(url, &error),
                Ok(builder) => {
                    told.shows(url, &builder);
                    match builder.build() {
                        Err(error) => told.fails(url, &error),
                        Ok(cache) => {
                            told.shows(url, &cache);
                            let kind: CacheKind<String> =
                                cache.kind("name", CachePolicy::default()).unwrap();
                            told.shows(url, &kind);
                            let of_tenant = cache.tenant(tenant);
                            told.shows(url, &of_tenant);
                            let load = || async { Ok(Some(CANARY.to_owned())) };
                            let _ = of_tenant.get_or_load(&kind, CANARY, load).await;
                            if let Err(error) = of_tenant.invalidate(&kind, CANARY).await {
                                told.fails(url, &error);
                            }
                        }
                    }
                }
            }
        }
    }
    // A wrong key of an authority.
    let settings = RedisSettings::new(format!("rediss://:{CANARY}@localhost:1"))
        .with_ca_certificate(format!(
            "-----BEGIN CERTIFICATE-----\n{CANARY}\n-----END CERTIFICATE-----"
        ));
    told.fails("authority", &RedisLimits::new(&settings).unwrap_err());
    told.shows("authority", &settings);
    told.shows(
        "token",
        &RedisToken::new(Secret::new(CANARY), Default::default()),
    );

    // Sessions of both backends, with ids, users and data.
    let real = RedisSettings::new(server.url()).with_prefix("attack-debug");
    let stores: [Arc<dyn SessionStore>; 2] = [
        Arc::new(MemorySessions::new()),
        Arc::new(RedisSessions::new(&real).unwrap()),
    ];
    let mut ids = Vec::new();
    for store in stores {
        let policy = SessionPolicy::default().with_most_bytes(100);
        let sessions = Sessions::<String>::new(Arc::clone(&store), policy).unwrap();
        let of_tenant = sessions.tenant(tenant);
        let mut session = of_tenant
            .create_for(CANARY, CANARY.to_owned())
            .await
            .unwrap();
        ids.push(session.id().expose().to_owned());
        told.shows("id", session.id());
        told.shows("session", &session);
        told.shows("list", &of_tenant.list(CANARY).await.unwrap());
        let mut old = of_tenant.load(session.id()).await.unwrap().unwrap();
        let mut older = of_tenant.load(session.id()).await.unwrap().unwrap();
        of_tenant.save(&mut session).await.unwrap();
        told.fails("conflict", &of_tenant.save(&mut old).await.unwrap_err());
        of_tenant.rotate(&mut session).await.unwrap();
        ids.push(session.id().expose().to_owned());
        told.fails("gone", &of_tenant.save(&mut older).await.unwrap_err());
        session.data = CANARY.repeat(100);
        told.fails("large", &of_tenant.save(&mut session).await.unwrap_err());
        told.fails(
            "user",
            &of_tenant.list(&CANARY.repeat(100)).await.unwrap_err(),
        );
        let of_number = Sessions::<u32>::new(Arc::clone(&store), policy)
            .unwrap()
            .tenant(tenant);
        told.fails("type", &of_number.load(session.id()).await.unwrap_err());
        told.shows("store", &store);
    }
    for junk in [CANARY, &CANARY.repeat(8)] {
        told.fails(
            "junk",
            &junk.parse::<tenantry_cache::SessionId>().unwrap_err(),
        );
        told.fails(
            "junk",
            &junk.parse::<tenantry_cache::SessionHash>().unwrap_err(),
        );
    }
    let minute = Duration::from_secs(60);
    let data = CANARY.as_bytes().to_vec();
    told.shows(
        "new",
        &NewSession {
            user: Some(CANARY),
            data: data.clone(),
            lifetime: minute,
            idle: minute,
        },
    );
    told.shows(
        "change",
        &SessionChange {
            version: None,
            data: data.clone(),
            idle: minute,
        },
    );
    told.shows(
        "sign in",
        &SignIn {
            user: CANARY,
            lifetime: minute,
        },
    );
    let metadata = tenantry_cache::SessionMetadata {
        version: 1,
        created_at: Default::default(),
        last_seen_at: Default::default(),
        expires_at: Default::default(),
    };
    told.shows(
        "stored",
        &StoredSession {
            user: Some(CANARY.into()),
            data,
            metadata,
        },
    );

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    for line in log.lines() {
        // Of this crate: the driver and the network have loggers of their own.
        if line.contains(CANARY) || ids.iter().any(|id| line.contains(id)) {
            told.0.push(format!("log: {line}"));
        }
    }
    assert!(told.0.is_empty(), "{:#?}", told.0);
}
