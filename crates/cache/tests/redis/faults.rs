//! Servers that go, come back empty, lose what they were told, or are another one now.

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Cache, CachePolicy, RateLimiter, RedisLimits, RedisSettings, Rule};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::{RedisOptions, RedisServer, StopMode};

use super::events::Events;
use super::proxy::Proxy;
use super::{Nodes, SEVEN, until};

#[tokio::test]
async fn a_server_that_is_not_there_is_done_without() {
    let nodes = Nodes::at("redis://127.0.0.1:1", 2).await;
    for node in &nodes.nodes {
        for _ in 0..10 {
            assert_eq!(node.text(SEVEN).await, "one");
        }
    }
    let node = &nodes.nodes[0];
    let error = node.tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_retryable());
    nodes.source.set("two");
    assert_eq!(node.text(SEVEN).await, "two");
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_used_again() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    one.text(SEVEN).await;
    until(|| other.is_known(SEVEN)).await;
    server.stop(StopMode::Immediate).await.unwrap();
    nodes.source.set("two");
    let told = one.tenant.invalidate(&one.kind, "7").await;
    assert_eq!(told.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(one.text(SEVEN).await, "two");
    server.restart().await.unwrap();
    until(|| async {
        one.text(SEVEN).await;
        other.is_known(SEVEN).await
    })
    .await;
    assert_eq!(other.text(SEVEN).await, "two");
}

/// Only the one who invalidates is cut off; what it could not tell is told when it can.
#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let reader = &nodes.nodes[0];
    let proxy = Proxy::before(server.address()).await;
    let url = server.url_through(proxy.address).unwrap();
    let settings = RedisSettings::new(url).with_prefix(&nodes.prefix);
    let writer = reader.another(&settings);
    reader.text(SEVEN).await;
    until(|| writer.is_known(SEVEN)).await;

    proxy.lead_to(None);
    nodes.source.set("two");
    let told = writer.tenant.invalidate(&writer.kind, "7").await;
    assert_eq!(told.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(writer.text(SEVEN).await, "two");
    proxy.lead_to(Some(server.address()));
    until(|| async { reader.text(SEVEN).await == "two" }).await;
    // And is not used again by who knows that it is over.
    assert_eq!(writer.text(SEVEN).await, "two");
}

#[tokio::test]
async fn a_server_that_is_emptied_holds_nothing_old() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let gate = nodes.source.close();
    let slow = other.begin().await;
    server.execute(&["flushall"]).await.unwrap();
    nodes.source.set("two");
    one.tenant.invalidate(&one.kind, "7").await.unwrap();
    gate.add_permits(10);
    slow.await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for node in &nodes.nodes {
        assert_eq!(node.text(SEVEN).await, "two");
    }
}

/// One of the keys goes, whichever: what depends on it is over, and nothing older comes back.
#[tokio::test]
async fn a_key_that_is_evicted_brings_nothing_old_back() {
    let server = RedisServer::start().await.unwrap();
    for what in [
        "generation",
        "tag:all",
        "tag:customer%3A12",
        "value:name:7",
        "number",
    ] {
        let nodes = Nodes::at(server.url(), 2).await;
        let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
        one.text(SEVEN).await;
        until(|| other.is_known(SEVEN)).await;
        let key = format!("{}:{{t:{}}}:{what}", nodes.prefix, one.tenant.tenant());
        nodes.source.set("two");
        one.tenant.flush().await.unwrap();
        server.execute(&["del", &key]).await.unwrap();
        assert_eq!(other.text(SEVEN).await, "two", "{what}");
        until(|| one.is_known(SEVEN)).await;
        server.execute(&["del", &key]).await.unwrap();
        nodes.source.set("three");
        one.tenant.invalidate_tag("all").await.unwrap();
        assert_eq!(other.text(SEVEN).await, "three", "{what}");
    }
}

/// With as little memory as that, most of what is stored is evicted at once.
#[tokio::test]
async fn a_server_that_evicts_all_the_time_serves_nothing_old() {
    let options = RedisOptions::default()
        .with_setting("maxmemory", "3mb")
        .with_setting("maxmemory-policy", "allkeys-lru");
    let server = RedisServer::start_with(options).await.unwrap();
    let nodes = Nodes::at(server.url(), 2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    for round in 0..300 {
        // Such as no compression makes much shorter.
        let digits: String = (0..1_250)
            .map(|_| format!("{:032x}", rand::random::<u128>()))
            .collect();
        let value = format!("{round} {digits}");
        nodes.source.set(&value);
        let key = (round % 7).to_string();
        one.tenant.invalidate(&one.kind, &key).await.unwrap();
        assert_eq!(other.text(&key).await, value);
        one.text(&format!("filler {round}")).await;
    }
    let evicted = server.ask(&["info", "stats"]).await.unwrap();
    assert!(!evicted.contains("evicted_keys:0\r"), "{evicted}");
}

/// The replica has not heard of the last invalidation when it is promoted.
#[tokio::test]
async fn what_a_fail_over_has_lost_does_not_come_back() {
    let primary = RedisServer::start().await.unwrap();
    let proxy = Proxy::before(primary.address()).await;
    let url = primary.url_through(proxy.address).unwrap();
    let password = url.split(['@', ':']).nth(2).unwrap().to_owned();
    let replication = Proxy::before(primary.address()).await;
    let options = RedisOptions::default()
        .with_setting(
            "replicaof",
            format!("127.0.0.1 {}", replication.address.port()),
        )
        .with_setting("masterauth", &*password);
    let replica = RedisServer::start_with(options).await.unwrap();
    // Each server has a password of its own.
    replica
        .execute(&["acl", "setuser", "default", &format!(">{password}")])
        .await
        .unwrap();
    until(|| async {
        let told = replica.ask(&["info", "replication"]).await.unwrap();
        told.contains("master_link_status:up")
    })
    .await;
    let nodes = Nodes::at(&url, 2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    one.text(SEVEN).await;
    until(|| other.is_known(SEVEN)).await;
    let written = primary.ask(&["wait", "1", "5000"]).await.unwrap();
    assert_eq!(written, "1", "the replica has it");

    replication.lead_to(None);
    nodes.source.set("two");
    one.tenant.invalidate(&one.kind, "7").await.unwrap();
    primary.stop(StopMode::Immediate).await.unwrap();
    replica.execute(&["replicaof", "no", "one"]).await.unwrap();
    proxy.lead_to(Some(replica.address()));
    let key = format!(
        "{}:{{t:{}}}:value:name:7",
        nodes.prefix,
        one.tenant.tenant()
    );
    let there = replica.ask(&["exists", &key]).await.unwrap();
    assert_eq!(there, "1", "the end of the value is lost");
    for _ in 0..10 {
        for node in &nodes.nodes {
            assert_eq!(node.text(SEVEN).await, "two");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until(|| other.is_known(SEVEN)).await;
}

/// A link that is cut tells nothing: what is kept in the process is not used until it is sure again.
#[tokio::test]
async fn a_node_that_hears_nothing_uses_nothing_of_its_own() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let writer = &nodes.nodes[0];
    let proxy = Proxy::before(server.address()).await;
    let url = server.url_through(proxy.address).unwrap();
    let settings = RedisSettings::new(url).with_prefix(&nodes.prefix);
    let reader = writer.another(&settings);
    reader.until_sure().await;
    assert_eq!(reader.text(SEVEN).await, "one");
    proxy.lead_to(None);
    nodes.source.set("two");
    writer.tenant.invalidate(&writer.kind, "7").await.unwrap();
    // No later than a second after the last heartbeat.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(reader.text(SEVEN).await, "two");
    nodes.source.set("three");
    writer.tenant.invalidate(&writer.kind, "7").await.unwrap();
    proxy.lead_to(Some(server.address()));
    reader.until_sure().await;
    assert_eq!(reader.text(SEVEN).await, "three");
}

/// Its process may have been stopped, with the turn to load.
#[tokio::test]
async fn who_stops_while_it_loads_holds_others_up_for_no_longer_than_its_lease() {
    let nodes = Nodes::shared(2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let _gate = nodes.source.close();
    let _stopped = one.begin().await;
    *nodes.source.gate.lock() = None;
    let begun = std::time::Instant::now();
    assert_eq!(other.text(SEVEN).await, "one");
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "it waits for a while"
    );
}

#[tokio::test]
async fn a_load_that_fails_lets_another_load() {
    let nodes = Nodes::shared(2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    for _ in 0..3 {
        let load = || async { panic!("the loader panics") };
        one.tenant
            .get_or_load(&one.kind, SEVEN, load)
            .await
            .unwrap_err();
    }
    assert_eq!(other.text(SEVEN).await, "one");
}

#[tokio::test]
async fn wrong_settings_are_told() {
    let server = RedisServer::shared().await.unwrap();
    for settings in [
        RedisSettings::new("hunter2"),
        RedisSettings::new("http://localhost"),
        RedisSettings::new(server.url()).with_prefix(""),
        RedisSettings::new(server.url()).with_prefix("a:b"),
        RedisSettings::new(server.url()).with_connections(0),
        RedisSettings::new(server.url()).with_timeout(Duration::ZERO),
    ] {
        let error = Cache::builder().with_redis(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
        assert!(!format!("{error:?} {settings:?}").contains("hunter2"));
    }
    let settings =
        RedisSettings::new(server.url()).with_password(tenantry_core::Secret::new("wrong hunter2"));
    let cache = Cache::builder()
        .with_redis(&settings)
        .unwrap()
        .build()
        .unwrap();
    let tenant = cache.tenant(tenantry_core::TenantId::generate());
    let error = tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
    assert!(!format!("{error:?} {cache:?}").contains("hunter2"));
}

#[cfg(not(feature = "redis-tls"))]
#[tokio::test]
async fn who_asks_for_tls_is_told_which_feature_it_takes() {
    let settings = RedisSettings::new("rediss://:hunter2@localhost");
    let error = Cache::builder().with_redis(&settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(error.to_string().contains("`redis-tls`"), "{error}");
    assert!(!format!("{error:?} {settings:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_replica_is_not_written_to() {
    let primary = RedisServer::start().await.unwrap();
    let replica = primary.start_replica().await.unwrap();
    let nodes = Nodes::at(replica.url(), 1).await;
    let node = &nodes.nodes[0];
    assert_eq!(node.text(SEVEN).await, "one");
    let error = node.tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
}

/// What is over is told all the same: it takes no memory that matters.
#[tokio::test]
async fn a_server_without_memory_stores_nothing_and_ends_all() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let settings = RedisSettings::new(server.url());
    let limits = RedisLimits::new(&settings).unwrap();
    let limiter = RateLimiter::new(Arc::new(limits)).tenant(TenantId::generate());
    let rule = Rule::new("rule", 1, Duration::from_secs(60)).unwrap();
    for key in ["7", "8"] {
        one.text(key).await;
        until(|| other.is_known(key)).await;
    }
    let events = Events::hear();
    server
        .execute(&["config", "set", "maxmemory", "1"])
        .await
        .unwrap();
    nodes.source.set("two");
    one.tenant.invalidate(&one.kind, "7").await.unwrap();
    assert!(other.is_known("8").await, "what is there is read");
    for node in &nodes.nodes {
        assert_eq!(node.text("7").await, "two");
        assert!(!node.is_known("7").await);
    }
    until(|| async { events.take().contains("storage full") }).await;
    let taken = limiter.take(&[rule.limit("")], 1).await.unwrap();
    let failure = taken.failure().unwrap();
    assert_eq!(failure.kind(), ErrorKind::StorageFull, "{failure:?}");
    // Also by who comes only now.
    let late = one.another(&RedisSettings::new(server.url()).with_prefix(&nodes.prefix));
    late.tenant.flush().await.unwrap();
    server
        .execute(&["config", "set", "maxmemory", "0"])
        .await
        .unwrap();
    until(|| async {
        one.text("7").await;
        other.is_known("7").await
    })
    .await;
}

#[tokio::test]
async fn a_server_of_a_cluster_is_told_and_done_without() {
    let options = RedisOptions::default()
        .with_setting("cluster-enabled", "yes")
        .with_setting("cluster-config-file", "nodes.conf");
    let server = RedisServer::start_with(options).await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let node = &nodes.nodes[0];
    let error = node.tenant.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("unsupported"), "{cause}");
    assert_eq!(node.text(SEVEN).await, "one");
}

#[tokio::test]
async fn whatever_is_wrong_with_an_address_has_its_kind_and_the_cache_is_done_without() {
    let server = RedisServer::start().await.unwrap();
    // Speaks, and no Redis.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let mut clients = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 9]).await;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            clients.push(client);
        }
    });
    for (url, kind) in [
        (format!("{}/99", server.url()), ErrorKind::InvalidSettings),
        (
            format!("redis://{}", server.address()),
            ErrorKind::AuthenticationFailed,
        ),
        // Of what is no Redis, the driver says that the connection is over, and no more.
        (format!("redis://{stranger}"), ErrorKind::Unavailable),
        ("redis://nowhere.invalid".to_owned(), ErrorKind::Unavailable),
        ("redis://127.0.0.1:1".to_owned(), ErrorKind::Unavailable),
    ] {
        let node = &Nodes::at(&url, 1).await.nodes[0];
        let error = node.tenant.flush().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url} {error:?}");
        assert_eq!(node.text(SEVEN).await, "one", "{url}");
    }
}

/// A password that is set on the server, then stored: by whoever hears of it, or is refused.
#[tokio::test]
async fn a_password_is_followed() {
    use tenantry_core::{Secret, SecretSource};
    use tenantry_secrets::{MemoryVault, Secrets};

    let server = RedisServer::start().await.unwrap();
    let user = async |rule: &str| {
        let rules = ["acl", "setuser", "app", "on", "~*", "&*", "+@all", rule];
        server.execute(&rules).await.unwrap();
    };
    user(">first").await;
    let secrets = Secrets::builder()
        .with_vault("vault", Arc::new(MemoryVault::new()))
        .unwrap()
        .build()
        .unwrap();
    let reference = "kv://vault/redis".parse().unwrap();
    let store = async |password: &str| {
        let stored = secrets.put_new_version(&reference, Secret::new(password), Default::default());
        stored.await.unwrap();
    };
    store("first").await;
    let settings = RedisSettings::new(format!("redis://{}", server.address()))
        .with_user("app")
        .with_password_from(
            Arc::new(secrets.clone()) as Arc<dyn SecretSource>,
            reference.clone(),
        );
    let cache = Cache::builder()
        .with_redis(&settings)
        .unwrap()
        .build()
        .unwrap();
    let tenant = cache.tenant(tenantry_core::TenantId::generate());
    tenant.flush().await.unwrap();
    for (before, after) in [("first", "second"), ("second", "third")] {
        // Stored and not yet set: the one before is used.
        store(after).await;
        server
            .execute(&["client", "kill", "type", "normal"])
            .await
            .unwrap();
        until(|| async { tenant.flush().await.is_ok() }).await;
        user(&format!(">{after}")).await;
        user(&format!("<{before}")).await;
        server
            .execute(&["client", "kill", "type", "normal"])
            .await
            .unwrap();
        until(|| async { tenant.flush().await.is_ok() }).await;
    }
    store("wrong").await;
    user("resetpass").await;
    server
        .execute(&["client", "kill", "type", "normal"])
        .await
        .unwrap();
    // Connections that were cut say so first.
    until(|| async {
        let error = tenant.flush().await.unwrap_err();
        let told = format!("{error:?} {settings:?} {cache:?}");
        assert!(!told.contains("third"), "{told}");
        error.kind() == ErrorKind::AuthenticationFailed && told.contains("kv://vault/redis")
    })
    .await;
}

/// Each of two servers takes itself for the primary for a while, and one of them loses what it was told.
#[tokio::test]
async fn what_another_primary_was_told_is_over_for_all_who_come_from_it() {
    let (first, second) = (
        RedisServer::start().await.unwrap(),
        RedisServer::start().await.unwrap(),
    );
    let proxy = Proxy::before(first.address()).await;
    let url = first.url_through(proxy.address).unwrap();
    let password = url.split(['@', ':']).nth(2).unwrap().to_owned();
    second
        .execute(&["acl", "setuser", "default", &format!(">{password}")])
        .await
        .unwrap();
    let nodes = Nodes::at(&url, 1).await;
    let coming = &nodes.nodes[0];
    coming.text(SEVEN).await;
    let direct = RedisSettings::new(second.url()).with_prefix(&nodes.prefix);
    let there = coming.another(&direct);
    there.until_sure().await;
    assert_eq!(there.text(SEVEN).await, "one");

    nodes.source.set("two");
    coming.tenant.invalidate(&coming.kind, "7").await.unwrap();
    proxy.lead_to(Some(second.address()));
    until(|| async { coming.text(SEVEN).await == "two" && coming.is_known(SEVEN).await }).await;
    assert_eq!(coming.text(SEVEN).await, "two");
    until(|| async { there.text(SEVEN).await == "two" }).await;
}

#[tokio::test]
async fn what_is_past_its_time_or_no_value_is_loaded_anew_at_once() {
    let nodes = Nodes::shared(1).await;
    let node = &nodes.nodes[0];
    node.text(SEVEN).await;
    until(|| node.is_known(SEVEN)).await;
    // The key lives on with the time of the value that was there.
    node.tenant.invalidate_tag("all").await.unwrap();
    *nodes.source.value.lock() = None;
    let brief = CachePolicy::default().with_negative_time_to_live(Duration::from_millis(100));
    let kind = node.cache.kind::<String>("name", brief).unwrap();
    let read = async || {
        let source = std::sync::Arc::clone(&nodes.source);
        let load = move || async move { source.load().await };
        node.tenant.get_or_load(&kind, SEVEN, load).await.unwrap()
    };
    assert!(read().await.is_none());
    tokio::time::sleep(Duration::from_millis(150)).await;
    nodes.source.set("two");
    assert_eq!(read().await.as_deref().map(String::as_str), Some("two"));

    // Of another type, and with fewer tags.
    until(|| node.is_known(SEVEN)).await;
    let server = RedisServer::shared().await.unwrap();
    let settings = RedisSettings::new(server.url()).with_prefix(&nodes.prefix);
    let cache = Cache::builder()
        .with_redis(&settings)
        .unwrap()
        .build()
        .unwrap();
    let kind = cache
        .kind::<(String, u64)>("name", CachePolicy::default())
        .unwrap();
    let tenant = cache.tenant(node.tenant.tenant());
    let begun = std::time::Instant::now();
    let load = || async { Ok(Some(("three".to_owned(), 3))) };
    let three = tenant.get_or_load(&kind, SEVEN, load).await.unwrap();
    assert_eq!(three.unwrap().1, 3);
    node.text("7").await;
    node.text(SEVEN).await;
    node.text("7").await;
    let waited = begun.elapsed();
    assert!(
        waited < Duration::from_secs(2),
        "{waited:?}: nobody has the turn"
    );
}

/// For longer than a turn lasts.
#[tokio::test]
async fn a_load_that_takes_long_is_shared_as_well() {
    let nodes = Nodes::shared(2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let load = || async {
        tokio::time::sleep(Duration::from_millis(3_300)).await;
        Ok(Some("slow".to_owned()))
    };
    one.tenant
        .get_or_load(&one.kind, SEVEN, load)
        .await
        .unwrap();
    until(|| other.is_known(SEVEN)).await;
    assert_eq!(other.text(SEVEN).await, "slow");
}

/// By the server, to whoever connects again: neither the calls nor the link that hears others are let in.
#[tokio::test]
async fn why_a_server_refuses_is_told_once_for_each_time_that_it_does() {
    let server = RedisServer::start().await.unwrap();
    let let_in = [
        "acl", "setuser", "svc", "reset", "on", ">hunter2", "~*", "&*", "+@all",
    ];
    server.execute(&let_in).await.unwrap();
    let settings = RedisSettings::new(format!("redis://{}", server.address()))
        .with_user("svc")
        .with_password(tenantry_core::Secret::new("hunter2"));
    let builder = Cache::builder().with_redis(&settings).unwrap();
    let tenant = builder.build().unwrap().tenant(TenantId::generate());
    tenant.flush().await.unwrap();
    let events = Events::hear();
    let refusals = |told: &str| {
        let told = told
            .lines()
            .filter(|line| line.contains("refuses this process"));
        told.inspect(|line| {
            assert!(line.contains("WARN") && line.contains("authentication failed"))
        })
        .count()
    };
    for _ in 0..2 {
        server
            .execute(&["acl", "setuser", "svc", "resetpass", ">another"])
            .await
            .unwrap();
        server
            .execute(&["client", "kill", "user", "svc"])
            .await
            .unwrap();
        let (mut told, mut refused) = (String::new(), 0);
        // Of the calls, and of the link; then no more of either, however often they are tried.
        while refusals(&told) < 2 || refused < 10 {
            refused += usize::from(tenant.flush().await.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
            told.push_str(&events.take());
        }
        assert_eq!(refusals(&told), 2, "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        server.execute(&let_in).await.unwrap();
        until(|| async { tenant.flush().await.is_ok() }).await;
        // The link is opened again by itself.
        until(|| async {
            let listening = server.ask(&["client", "list", "type", "pubsub"]).await;
            listening.unwrap().contains("user=svc")
        })
        .await;
        events.take();
    }
}
