//! What one node invalidates is over for all.

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Cache, CachePolicy, RedisSettings};
use tenantry_core::TenantId;
use tenantry_testkit::RedisServer;

use super::{Node, Nodes, SEVEN, until};

const WAYS: [&str; 4] = ["key", "tag", "other tag", "tenant"];

async fn invalidate(node: &Node, way: &str) {
    match way {
        "key" => node.tenant.invalidate(&node.kind, "7").await,
        "tag" => node.tenant.invalidate_tag("all").await,
        "other tag" => node.tenant.invalidate_tag("customer:12").await,
        _ => node.tenant.flush().await,
    }
    .unwrap();
}

#[tokio::test]
async fn what_one_node_loads_others_have() {
    let nodes = Nodes::shared(3).await;
    let [first, others @ ..] = &*nodes.nodes else {
        unreachable!("three nodes")
    };
    assert_eq!(first.text(SEVEN).await, "one");
    // Nobody waits for it to be stored.
    for node in others {
        until(|| node.is_known(SEVEN)).await;
        assert_eq!(node.text(SEVEN).await, "one");
    }
    assert_eq!(nodes.source.loads(), 1);
}

#[tokio::test]
async fn what_one_node_invalidates_another_loads_anew() {
    for way in WAYS {
        let nodes = Nodes::shared(2).await;
        let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
        one.text(SEVEN).await;
        until(|| other.is_known(SEVEN)).await;
        nodes.source.set("two");
        invalidate(one, way).await;
        assert_eq!(other.text(SEVEN).await, "two", "{way}");
        assert_eq!(one.text(SEVEN).await, "two", "{way}");
    }
}

/// Also where it keeps values in its own process.
#[tokio::test]
async fn what_one_node_invalidates_another_forgets() {
    for way in WAYS {
        let nodes = Nodes::near(2).await;
        let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
        one.text(SEVEN).await;
        other.text(SEVEN).await;
        let loads = nodes.source.loads();
        other.text(SEVEN).await;
        assert_eq!(nodes.source.loads(), loads, "{way}");
        nodes.source.set("two");
        invalidate(one, way).await;
        assert_eq!(one.text(SEVEN).await, "two", "{way}: at once where it was");
        until(|| async { other.text(SEVEN).await == "two" }).await;
    }
}

#[tokio::test]
async fn a_load_from_before_stores_nothing_for_anybody() {
    for way in WAYS {
        let nodes = Nodes::near(2).await;
        let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
        let gate = nodes.source.close();
        let slow = other.begin().await;
        nodes.source.set("two");
        invalidate(one, way).await;
        *nodes.source.gate.lock() = None;
        assert_eq!(one.text(SEVEN).await, "two", "{way}: it waits for nobody");
        gate.add_permits(10);
        assert_eq!(slow.await.unwrap().as_deref(), Some("one"), "{way}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        for node in &nodes.nodes {
            assert_eq!(node.text(SEVEN).await, "two", "{way}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_on_eight_nodes_load_once() {
    let nodes = Nodes::shared(8).await;
    let gate = nodes.source.close();
    let readers: Vec<_> = (0..10_000)
        .map(|number| {
            let node = nodes.nodes[number % 8].clone();
            tokio::spawn(async move { node.read(SEVEN).await })
        })
        .collect();
    while nodes.source.loads() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.add_permits(100);
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_deref(), Some("one"));
    }
    assert_eq!(nodes.source.loads(), 1);
}

#[tokio::test]
async fn that_there_is_none_is_shared_and_ends_as_well() {
    let nodes = Nodes::shared(2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    *nodes.source.value.lock() = None;
    assert_eq!(one.read(SEVEN).await, None);
    until(|| other.is_known(SEVEN)).await;
    assert_eq!(other.read(SEVEN).await, None);
    assert_eq!(nodes.source.loads(), 1);
    nodes.source.set("one");
    other.tenant.invalidate(&other.kind, "7").await.unwrap();
    assert_eq!(other.text(SEVEN).await, "one");
    until(|| async { one.read(SEVEN).await.as_deref() == Some("one") }).await;
}

#[tokio::test]
async fn tenants_and_services_have_nothing_of_each_other() {
    let nodes = Nodes::shared(1).await;
    let node = &nodes.nodes[0];
    node.text(SEVEN).await;
    let mut foreign = node.clone();
    foreign.tenant = node.cache.tenant(TenantId::generate());
    nodes.source.set("two");
    assert_eq!(foreign.text(SEVEN).await, "two");
    until(|| foreign.is_known(SEVEN)).await;
    let other_service = Nodes::shared(1).await;
    assert_eq!(other_service.nodes[0].text(SEVEN).await, "one");
    node.tenant.flush().await.unwrap();
    let loads = nodes.source.loads();
    assert_eq!(foreign.text(SEVEN).await, "two");
    assert_eq!(nodes.source.loads(), loads);
}

/// While a release is rolled out, each side reads what it has written itself, and ends both.
#[tokio::test]
async fn old_and_new_schemas_live_side_by_side() {
    let server = RedisServer::shared().await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let old = &nodes.nodes[0];
    let settings = RedisSettings::new(server.url()).with_prefix(&nodes.prefix);
    let builder = Cache::builder().with_redis(&settings).unwrap();
    let cache = builder.build().unwrap();
    let kind = cache
        .kind::<(u64, String)>("name", CachePolicy::default())
        .unwrap()
        .with_schema(1);
    let new = cache.tenant(old.tenant.tenant());
    let read_new = async |number: u64| {
        let load = move || async move { Ok(Some((number, "new".to_owned()))) };
        new.get_or_load(&kind, "7", load).await.unwrap().unwrap().0
    };
    for round in 0..3 {
        nodes.source.set(&format!("old {round}"));
        assert_eq!(old.text("7").await, format!("old {round}"));
        assert_eq!(read_new(round).await, round);
        until(|| async { new.get(&kind, "7").await.is_some() }).await;
        until(|| old.is_known("7")).await;
        assert_eq!(read_new(99).await, round, "it is kept");
        match round {
            0 => new.invalidate(&kind, "7").await.unwrap(),
            _ => old.tenant.invalidate(&old.kind, "7").await.unwrap(),
        }
    }
}

/// Whoever can write to the server, or a mistake of ours, moves a value under another key.
#[tokio::test]
async fn a_value_that_comes_to_lie_elsewhere_is_not_used() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let one = &nodes.nodes[0];
    let mut other = one.clone();
    other.tenant = one.cache.tenant(TenantId::generate());
    for node in [one, &other] {
        nodes.source.set(&node.tenant.tenant().to_string());
        node.text("7").await;
        until(|| node.is_known("7")).await;
    }
    let key =
        |what: &str, node: &Node| format!("{}:{{t:{}}}:{what}", nodes.prefix, node.tenant.tenant());
    // With all that it depends on, so that its fence is in order.
    for what in ["generation", "value:name:7"] {
        server
            .execute(&["copy", &key(what, one), &key(what, &other), "replace"])
            .await
            .unwrap();
    }
    let mine = other.tenant.tenant().to_string();
    nodes.source.set(&mine);
    assert_eq!(other.text("7").await, mine);
}

#[tokio::test]
async fn nothing_is_kept_without_an_end() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 2).await;
    let node = &nodes.nodes[0];
    for number in 0..50 {
        node.text(&number.to_string()).await;
        node.text(SEVEN).await;
        node.tenant.invalidate_tag("all").await.unwrap();
        if number % 10 == 0 {
            node.tenant.flush().await.unwrap();
        }
    }
    let lua = "local left = 0 for _, key in ipairs(redis.call('KEYS', '*')) do \
               if redis.call('PTTL', key) < 0 then left = left + 1 end end return left";
    until(|| async { server.ask(&["dbsize"]).await.unwrap() != "0" }).await;
    assert_eq!(server.ask(&["eval", lua, "0"]).await.unwrap(), "0");
    let _ = Arc::new(nodes);
}
