//! The gateway, as a browser meets it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::{Tenants, router};
use tenantry::TenantId;
use tenantry::cache::{
    MemoryLimits, MemorySessions, RateLimits, RedisLimits, RedisSessions, RedisSettings,
    SessionStore,
};
use tenantry_testkit::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ACME: &str = "acme.localhost";
const GLOBEX: &str = "globex.localhost";

struct Gateway(SocketAddr);

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find_map(|(it, value)| it.eq_ignore_ascii_case(name).then_some(&**value))
    }

    /// Returns the cookie, as the next request shows it.
    fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
        cookie.split(';').next().unwrap().to_owned()
    }
}

impl Gateway {
    async fn start(sessions: Arc<dyn SessionStore>, limits: Arc<dyn RateLimits>) -> Self {
        let tenants = Tenants::from([ACME, GLOBEX].map(|host| (host, TenantId::generate())));
        let router = router(tenants, sessions, limits).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(address)
    }

    async fn ask(&self, host: &str, line: &str, cookie: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {host}:{}\r\nCookie: {cookie}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.0.port(),
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Answer {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(name, it)| (name.to_owned(), it.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    async fn me(&self, host: &str, cookie: &str) -> (u16, String) {
        let answer = self.ask(host, "GET /me", cookie, "").await;
        (answer.status, answer.body)
    }
}

async fn serves(gateway: &Gateway) {
    assert_eq!(gateway.me(ACME, "").await.0, 401);
    let first = gateway.ask(ACME, "POST /login", "", "eve").await;
    let planted = first.cookie();
    assert_eq!(gateway.me(ACME, &planted).await, (200, "eve".to_owned()));

    // Another sign-in has another id, and the one before is nobody's.
    let again = gateway.ask(ACME, "POST /login", &planted, "grace").await;
    let cookie = again.cookie();
    assert_ne!(cookie, planted);
    assert_eq!(gateway.me(ACME, &planted).await.0, 401);
    assert_eq!(gateway.me(ACME, &cookie).await, (200, "grace".to_owned()));

    // Of another tenant it is nobody's either, and does no harm.
    assert_eq!(gateway.me(GLOBEX, &cookie).await.0, 401);
    gateway.ask(GLOBEX, "POST /logout", &cookie, "").await;
    assert_eq!(gateway.me("nobody.localhost", &cookie).await.0, 404);
    assert_eq!(gateway.me(ACME, &cookie).await.0, 200);

    assert_eq!(
        gateway.ask(ACME, "POST /logout", &cookie, "").await.status,
        200
    );
    assert_eq!(gateway.me(ACME, &cookie).await.0, 401);

    // Five sign-ins a minute for each user, and for each of another tenant.
    for _ in 0..5 {
        let answer = gateway.ask(ACME, "POST /login", "", "ada").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit").is_some());
    }
    let refused = gateway.ask(ACME, "POST /login", "", "ada").await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit-policy").unwrap().contains("q=5"));
    assert!(refused.header("set-cookie").is_none());
    let other = gateway.ask(ACME, "POST /login", "", "alan").await;
    assert_eq!(other.status, 200);
    assert_eq!(
        gateway.ask(GLOBEX, "POST /login", "", "ada").await.status,
        200
    );
    assert_eq!(gateway.me(ACME, "").await.0, 401);
}

#[tokio::test]
async fn visitors_sign_in_and_out_in_one_process() {
    let sessions = Arc::new(MemorySessions::new());
    serves(&Gateway::start(sessions, Arc::new(MemoryLimits::new())).await).await;
}

#[tokio::test]
async fn visitors_sign_in_and_out_over_a_redis() {
    let server = RedisServer::shared().await.unwrap();
    let prefix = format!("gateway-{}", TenantId::generate());
    let settings = RedisSettings::new(server.url()).with_prefix(prefix);
    let sessions = Arc::new(RedisSessions::new(&settings).unwrap());
    let limits = Arc::new(RedisLimits::new(&settings).unwrap());
    serves(&Gateway::start(sessions, limits).await).await;
}
