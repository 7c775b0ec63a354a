//! A user with the rules that the settings tell, and no more.

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Cache, CachePolicy, Lookup, RateLimiter, RedisLimits, RedisSettings, Rule};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::RedisServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::until;

/// A server on which each prefix has a user of its own.
struct Walled(RedisServer);

impl Walled {
    async fn new(prefixes: &[&str]) -> Self {
        let walled = Self(RedisServer::start().await.unwrap());
        for prefix in prefixes {
            let rules = walled.settings(prefix).acl_rules().unwrap();
            let password = format!(">of-{prefix}");
            let mut command = vec!["acl", "setuser", prefix, "reset", "on", &password];
            command.extend(rules.split(' '));
            walled.0.execute(&command).await.unwrap();
        }
        walled
    }

    fn settings(&self, prefix: &str) -> RedisSettings {
        let url = format!("redis://{prefix}:of-{prefix}@{}", self.0.address());
        RedisSettings::new(url)
            .with_prefix(prefix)
            .with_bytes_of_a_tenant(100_000)
    }

    /// Returns a conversation of a user with the server.
    async fn speak_as(&self, user: &str) -> Conversation {
        let stream = TcpStream::connect(self.0.address()).await.unwrap();
        let mut conversation = Conversation(BufReader::new(stream));
        let password = format!("of-{user}");
        assert_eq!(conversation.ask(&["auth", user, &password]).await, "+OK");
        conversation
    }

    /// Returns the first line of what was refused to whom.
    async fn refused(&self) -> String {
        let stream = TcpStream::connect(self.0.address()).await.unwrap();
        let mut conversation = Conversation(BufReader::new(stream));
        let password = self.0.url().split(['@', ':']).nth(2).unwrap();
        assert_eq!(conversation.ask(&["auth", password]).await, "+OK");
        conversation.ask(&["acl", "log", "1"]).await
    }
}

struct Conversation(BufReader<TcpStream>);

impl Conversation {
    /// Returns the first line of the answer.
    async fn ask(&mut self, command: &[&str]) -> String {
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn all_that_there_is_works_with_the_rules() {
    let walled = Walled::new(&["one"]).await;
    let caches = [(); 2].map(|()| {
        let builder = Cache::builder().with_redis(&walled.settings("one"));
        builder.unwrap().build().unwrap()
    });
    let id = TenantId::generate();
    let kinds = caches
        .each_ref()
        .map(|it| it.kind::<String>("name", CachePolicy::default()).unwrap());
    let tenants = caches.each_ref().map(|it| it.tenant(id));
    let lookup = Lookup::new("7").with_tags(&["all"]);
    for round in 0..4 {
        let value = format!("{round} {}", "x".repeat(1_000));
        let load = {
            let value = value.clone();
            || async move { Ok(Some(value)) }
        };
        let read = tenants[0].get_or_load(&kinds[0], lookup, load).await;
        assert_eq!(read.unwrap().as_deref(), Some(&value));
        until(|| async { tenants[1].get(&kinds[1], lookup).await.is_some() }).await;
        // Also a process that has it by itself hears of the end, by the channel.
        until(|| async {
            let load = || async { panic!("it is there") };
            let read = tenants[1].get_or_load(&kinds[1], lookup, load).await;
            read.unwrap();
            caches[1].bytes_of(id) > 0
        })
        .await;
        match round {
            0 => tenants[0].invalidate(&kinds[0], "7").await,
            1 => tenants[0].invalidate_tag("all").await,
            _ => tenants[0].flush().await,
        }
        .unwrap();
        until(|| async { tenants[1].get(&kinds[1], lookup).await.is_none() }).await;
    }
    // More than the tenant may take, of what no compression makes shorter.
    for number in 0..20 {
        let digits: String = (0..300)
            .map(|_| format!("{:032x}", rand::random::<u128>()))
            .collect();
        let (key, load) = (number.to_string(), || async { Ok(Some(digits)) });
        let read = tenants[0].get_or_load(&kinds[0], &key, load).await;
        read.unwrap();
        until(|| async { tenants[1].get(&kinds[1], &key).await.is_some() }).await;
    }
    let load = || async { Err(tenantry_core::Error::new(ErrorKind::Conflict, "load")) };
    let failed = tenants[0].get_or_load(&kinds[0], "fails", load).await;
    failed.unwrap_err();

    let limits = RedisLimits::new(&walled.settings("one")).unwrap();
    let limiter = RateLimiter::new(Arc::new(limits)).tenant(id);
    for most in [3, 2_000] {
        let rule = Rule::new("rule", most, Duration::from_millis(50)).unwrap();
        let limit = [rule.limit("subject")];
        for _ in 0..4 {
            let taken = limiter.take(&limit, most / 2).await.unwrap();
            assert!(taken.failure().is_none(), "{:?}", taken.failure());
        }
        let _ = limiter.peek(&limit).await.unwrap();
        limiter.refund(&limit, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        let taken = limiter.take(&limit, most).await.unwrap();
        assert!(taken.failure().is_none() && taken.is_admitted());
    }
    assert_eq!(walled.refused().await, "*0", "nothing was refused");
}

/// A call of each command that is allowed, about a key or a channel of somebody else.
const FOREIGN: &[&str] = &[
    "get other:k",
    "mget one:k other:k",
    "set other:k v",
    "incr other:k",
    "hget other:k f",
    "hmget other:k f",
    "hset other:k f v",
    "hsetnx other:k f v",
    "hdel other:k f",
    "pexpire other:k 1",
    "pttl other:k",
    "unlink one:k other:k",
    "publish other:invalidations x",
    "subscribe other:invalidations",
    "memory usage other:k",
    "zadd other:k 1 m",
    "zrem other:k m",
    "zincrby other:k 1 m",
    "zrange other:k 0 1",
    "zscore other:k m",
    "zrandmember other:k 1",
    "lindex other:k 0",
    "llen other:k",
    "lpop other:k",
    "lset other:k 0 v",
    "rpush other:k v",
    "del one:k other:k",
    "exists other:k",
    "pexpireat other:k 1",
    "zrevrange other:k 0 1",
    "zremrangebyscore other:k 0 1",
];
/// Without a key, or tried below.
const WITHOUT_KEY: &[&str] = &["info", "script|load", "evalsha", "time"];

/// Commands that look past the patterns of keys, and others that no cache needs.
const NEVER: &[&str] = &[
    "scan 0",
    "keys *",
    "randomkey",
    "dbsize",
    "flushdb",
    "flushall",
    "swapdb 0 1",
    "select 1",
    "config get *",
    "client list",
    "monitor",
    "acl list",
    "eval return 0",
    "script flush",
    "function list",
    "migrate 127.0.0.1 1 one:k 0 1",
    "restore one:k 0 x",
    "dump one:k",
    "sort one:k",
    "rename one:k one:l",
    "copy one:k one:l",
    "move one:k 1",
    "psubscribe *",
    "pubsub channels",
    "shutdown nosave",
    "replicaof no one",
    "memory stats",
    "multi",
];

#[tokio::test]
async fn a_user_has_nothing_of_another_prefix() {
    let walled = Walled::new(&["one", "other", "one.more"]).await;
    let mut other = walled.speak_as("other").await;
    assert_eq!(other.ask(&["set", "other:k", "v"]).await, "+OK");
    let mut one = walled.speak_as("one").await;
    let parts = |call: &'static str| call.split(' ').collect::<Vec<_>>();
    for call in FOREIGN.iter().chain(NEVER) {
        let answer = one.ask(&parts(call)).await;
        assert!(answer.starts_with("-NOPERM"), "{call}: {answer}");
    }
    assert_eq!(one.ask(&["set", "one:k", "v"]).await, "+OK");
    for key in ["one", "onemore:k", "one.more:k", "xone:k", "ONE:k", "*"] {
        let answer = one.ask(&["set", key, "v"]).await;
        assert!(answer.starts_with("-NOPERM"), "{key}: {answer}");
    }
    // By a script, whether it says so or not.
    let code = "return redis.call('GET', KEYS[1] or 'other:k')";
    assert_eq!(one.ask(&["script", "load", code]).await, "$40");
    let mut sha = String::new();
    one.0.read_line(&mut sha).await.unwrap();
    let sha = sha.trim_end();
    for call in [&["0"][..], &["1", "other:k"]] {
        let answer = one.ask(&[&["evalsha", sha], call].concat()).await;
        let is_refused = answer.starts_with("-NOPERM") || answer.contains("can't access");
        assert!(is_refused, "{answer}");
    }
    let mine = one.ask(&["evalsha", sha, "1", "one:k"]).await;
    assert_eq!(mine, "$1");
}

/// What is allowed in later versions is tried above too.
#[tokio::test]
async fn each_command_that_is_allowed_is_tried_with_a_foreign_key() {
    let rules = RedisSettings::new("redis://localhost").acl_rules().unwrap();
    let allowed = rules.split(' ').filter_map(|rule| rule.strip_prefix('+'));
    let mut count = 0;
    for command in allowed {
        count += 1;
        let call = command.replace('|', " ") + " ";
        let is_tried = FOREIGN.iter().any(|tried| tried.starts_with(&call));
        assert!(is_tried || WITHOUT_KEY.contains(&command), "{command}");
    }
    assert_eq!(count, FOREIGN.len() + WITHOUT_KEY.len());
    let another = RedisSettings::new("redis://localhost/3").acl_rules();
    assert!(another.unwrap().ends_with(" +select"));
    let wider = RedisSettings::new("redis://localhost").with_prefix("*");
    let refused = wider.acl_rules().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidSettings);
}

/// Some who offer a Redis do not give the command away: what a value takes is estimated then.
#[tokio::test]
async fn who_may_not_ask_how_much_memory_is_used_stores_all_the_same() {
    let walled = Walled::new(&["one"]).await;
    let less = ["acl", "setuser", "one", "-memory|usage"];
    walled.0.execute(&less).await.unwrap();
    let builder = Cache::builder().with_redis(&walled.settings("one"));
    let cache = builder.unwrap().build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let load = || async { Ok(Some("x".repeat(1_000))) };
    tenant.get_or_load(&kind, "7", load).await.unwrap();
    until(|| async { tenant.get(&kind, "7").await.is_some() }).await;
    let bytes = format!("one:{{t:{}}}:bytes", tenant.tenant());
    let charged = walled.0.ask(&["zscore", &bytes, "total"]).await.unwrap();
    let charged: i64 = charged.parse().unwrap();
    assert!((-2_000..=-1_000).contains(&charged), "{charged}");
}

/// What a service may not do is told by its kind, and the cache is done without.
#[tokio::test]
async fn who_may_not_is_told_so_and_loads_by_itself() {
    let walled = Walled::new(&["one", "two"]).await;
    // A command that only a script runs, and the keys of another.
    let less = ["acl", "setuser", "two", "-hset"];
    walled.0.execute(&less).await.unwrap();
    is_told(&walled.settings("two")).await;
    is_told(&walled.settings("one").with_prefix("other")).await;
}

async fn is_told(settings: &RedisSettings) {
    let builder = Cache::builder().with_redis(settings).unwrap();
    let cache = builder.build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let load = || async { Ok(Some("one".to_owned())) };
    let read = tenant.get_or_load(&kind, "7", load).await.unwrap();
    assert_eq!(read.as_deref().map(String::as_str), Some("one"));
    let error = tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}
