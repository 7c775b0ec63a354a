//! Whether what lies in a Redis is what the store has.

use std::sync::Arc;

use tenantry_cache::{
    Cache, CacheLevel, CachePolicy, CheckPolicy, ConsistencyChecker, RedisSettings, Verdict,
};
use tenantry_core::{ManualClock, TenantId};
use tenantry_testkit::{RedisServer, StopMode};

use super::{Node, Nodes, SEVEN, until};

fn checker(node: &Node) -> ConsistencyChecker {
    node.cache.checker(CheckPolicy::default()).unwrap()
}

async fn check(checker: &ConsistencyChecker, node: &Node) -> Verdict {
    let load = || node.source.load();
    let tenant = node.tenant.tenant();
    let verdict = checker.check(tenant, &node.kind, SEVEN, load).await;
    verdict.unwrap()
}

#[tokio::test]
async fn what_lies_in_the_server_is_compared_by_any_node() {
    let nodes = Nodes::shared(2).await;
    let (one, other) = (&nodes.nodes[0], &nodes.nodes[1]);
    let checker = checker(other);
    one.text(SEVEN).await;
    until(|| other.is_known(SEVEN)).await;
    assert_eq!(check(&checker, other).await, Verdict::Same);
    let mut foreign = other.clone();
    foreign.tenant = other.cache.tenant(TenantId::generate());
    assert_eq!(check(&checker, &foreign).await, Verdict::NotKept);
    nodes.source.set("two");
    assert!(matches!(
        check(&checker, other).await,
        Verdict::Stale { .. }
    ));
    one.tenant.flush().await.unwrap();
    assert_eq!(check(&checker, other).await, Verdict::NotKept);
    let report = checker.report();
    assert_eq!(report.len(), 1, "nothing is kept in its process");
    assert_eq!(report[0].level, CacheLevel::Shared);
    assert_eq!((report[0].looks, report[0].differed), (2, 1));
}

/// A value in the process that comes from an old one in the server is another; that one is not.
#[tokio::test]
async fn the_age_in_the_server_goes_on_where_the_process_forgets() {
    let nodes = Nodes::shared(1).await;
    let server = RedisServer::shared().await.unwrap();
    let clock = ManualClock::new(chrono::DateTime::UNIX_EPOCH);
    let settings = RedisSettings::new(server.url()).with_prefix(&nodes.prefix);
    let builder = Cache::builder().with_clock(Arc::new(clock.clone()));
    let cache = builder.with_redis(&settings).unwrap().build().unwrap();
    let node = Node {
        kind: cache.kind("name", CachePolicy::default()).unwrap(),
        tenant: cache.tenant(nodes.nodes[0].tenant.tenant()),
        source: Arc::clone(&nodes.source),
        cache,
    };
    let checker = checker(&node);
    node.until_sure().await;
    node.text(SEVEN).await;
    until(|| nodes.nodes[0].is_known(SEVEN)).await;
    nodes.source.set("two");
    check(&checker, &node).await;
    clock.advance(std::time::Duration::from_secs(6));
    node.until_sure().await;
    assert_eq!(node.text(SEVEN).await, "one", "from the server");
    check(&checker, &node).await;
    for it in checker.report() {
        let is_old = it.level == CacheLevel::Shared;
        assert_eq!(it.older_than_5s, u64::from(is_old), "{it:?}");
        assert_eq!(it.differed, if is_old { 1 } else { 2 }, "{it:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_tells_nothing() {
    let server = RedisServer::start().await.unwrap();
    let nodes = Nodes::at(server.url(), 1).await;
    let node = &nodes.nodes[0];
    let checker = checker(node);
    node.text(SEVEN).await;
    until(|| node.is_known(SEVEN)).await;
    server.stop(StopMode::Immediate).await.unwrap();
    nodes.source.set("two");
    assert_eq!(check(&checker, node).await, Verdict::Undecided);
    let report = checker.report();
    assert_eq!((report[0].undecided, report[0].differed), (1, 0));
}
