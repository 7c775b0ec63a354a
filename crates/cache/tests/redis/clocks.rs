//! Clocks of nodes that jump, or stand still.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use tenantry_cache::{Cache, CachePolicy, RedisSettings};
use tenantry_core::{Clock as _, ManualClock};
use tenantry_testkit::RedisServer;

use super::proxy::Proxy;
use super::{Node, Nodes, SEVEN, until};

const SECOND: Duration = Duration::from_secs(1);

/// A node whose clock a test moves, and another one that writes; each reaches the server by itself.
struct Clocks {
    node: Node,
    writer: Node,
    clock: ManualClock,
    server: RedisServer,
    prefix: String,
    proxy: Proxy,
}

impl Clocks {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let nodes = Nodes::at(server.url(), 1).await;
        let writer = nodes.nodes[0].clone();
        let proxy = Proxy::before(server.address()).await;
        let url = server.url_through(proxy.address).unwrap();
        let settings = RedisSettings::new(url).with_prefix(&nodes.prefix);
        let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let node = by_clock(&writer, &settings, &clock);
        node.until_sure().await;
        assert_eq!(node.text(SEVEN).await, "one");
        Self {
            node,
            writer,
            clock,
            server,
            prefix: nodes.prefix,
            proxy,
        }
    }

    /// Has the other node change the value, of which this one does not hear.
    async fn change_unheard(&self) {
        self.proxy.lead_to(None);
        let lua = "return redis.call('PUBSUB', 'NUMSUB', ARGV[1])[2]";
        let channel = format!("{}:invalidations", self.prefix);
        until(|| async {
            let listeners = self.server.ask(&["eval", lua, "0", &channel]).await;
            listeners.unwrap() == "1"
        })
        .await;
        self.writer.source.set("two");
        let told = self.writer.tenant.invalidate(&self.writer.kind, "7");
        told.await.unwrap();
    }

    async fn link_comes_back(&self) {
        self.proxy.lead_to(Some(self.server.address()));
        self.node.until_sure().await;
        assert_eq!(self.node.text(SEVEN).await, "two");
    }
}

/// Returns another node with the same tenant and source, by a clock of its own.
fn by_clock(node: &Node, settings: &RedisSettings, clock: &ManualClock) -> Node {
    let builder = Cache::builder().with_clock(Arc::new(clock.clone()));
    let cache = builder.with_redis(settings).unwrap().build().unwrap();
    Node {
        kind: cache.kind("name", CachePolicy::default()).unwrap(),
        tenant: cache.tenant(node.tenant.tenant()),
        source: Arc::clone(&node.source),
        cache,
    }
}

/// Nothing has been heard yet, whatever the clock shows.
#[tokio::test]
async fn who_begins_at_the_time_zero_is_sure_of_nothing() {
    let nodes = Nodes::at("redis://127.0.0.1:1", 1).await;
    let settings = RedisSettings::new("redis://127.0.0.1:1");
    let clock = ManualClock::new(DateTime::UNIX_EPOCH);
    let node = by_clock(&nodes.nodes[0], &settings, &clock);
    node.text(SEVEN).await;
    nodes.source.set("two");
    assert_eq!(node.text(SEVEN).await, "two");
}

/// A process that was stopped, or a machine whose clock counts the time that it was suspended.
#[tokio::test]
async fn who_wakes_to_a_later_time_uses_nothing_of_its_own() {
    let clocks = Clocks::new().await;
    clocks.change_unheard().await;
    assert_eq!(clocks.node.text(SEVEN).await, "one", "within the second");
    clocks.clock.advance(SECOND + Duration::from_nanos(1));
    assert_eq!(clocks.node.text(SEVEN).await, "two");
    clocks.link_comes_back().await;
}

/// A machine whose clock does not count that time goes on as if it had not been, for a second of its own.
#[tokio::test]
async fn who_wakes_to_the_same_time_uses_what_it_has_for_a_second_more() {
    let clocks = Clocks::new().await;
    clocks.change_unheard().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(clocks.node.text(SEVEN).await, "one");
    clocks.clock.advance(SECOND + Duration::from_nanos(1));
    assert_eq!(clocks.node.text(SEVEN).await, "two");
    clocks.link_comes_back().await;
}

/// However far the time jumps, what was kept ends no later than it would have, and is loaded anew.
#[tokio::test]
async fn a_jump_past_the_end_of_a_value_has_it_loaded_anew() {
    let clocks = Clocks::new().await;
    let node = &clocks.node;
    for jump in [2, 600, 365 * 24 * 3_600] {
        clocks.clock.advance(SECOND * jump);
        assert_eq!(node.text(SEVEN).await, "one", "{jump}");
        node.until_sure().await;
    }
    clocks.writer.source.set("two");
    let told = clocks.writer.tenant.invalidate(&clocks.writer.kind, "7");
    told.await.unwrap();
    until(|| async { node.text(SEVEN).await == "two" }).await;
}

/// The time of day is set right, or wrong: nothing here asks for it.
#[tokio::test]
async fn the_time_of_day_decides_nothing() {
    let clocks = Clocks::new().await;
    let node = &clocks.node;
    let loads = node.source.loads();
    for days in [-3_650, 3_650, 0] {
        clocks.clock.set(clocks.clock.now() + TimeDelta::days(days));
        assert_eq!(node.text(SEVEN).await, "one");
    }
    assert_eq!(node.source.loads(), loads);
    clocks.writer.source.set("two");
    let told = clocks.writer.tenant.invalidate(&clocks.writer.kind, "7");
    told.await.unwrap();
    until(|| async { node.text(SEVEN).await == "two" }).await;
}
