//! Servers that go and come back while two tenants are at work and a third is hostile.

use std::time::Duration;

use skyline::Result;
use tenantry_testkit::StopMode;

use super::fleet::Fleet;
use super::kills::free_ports;
use super::load::{Load, REQUESTS, Record, rate, settled};
use super::world::World;

/// How many requests in a row are answered as they should be, before a server is said to be back.
const IN_A_ROW: u64 = 500;

/// After how many requests that must be so.
const AT_MOST: u64 = 20_000;

/// How long a server is away, and how long all is well before.
const AWAY: Duration = Duration::from_millis(1_500);
const BEFORE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Postgres,
    Redis,
    Nats,
    Azurite,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_foreign_shown_while_each_server_is_started_again_under_load() {
    let world = World::own().await.unwrap();
    let program = env!("CARGO_BIN_EXE_skyline").into();
    let fleet = Fleet::start_for(&world, program, free_ports(), Some(REQUESTS)).await;
    let mut fleet = fleet.unwrap();
    let desk = fleet.desk().unwrap();
    let truth = settled(&desk, &world).await.unwrap();

    let load = Load::start(&desk, &truth, rate()).await.unwrap();
    for kind in [Kind::Postgres, Kind::Redis, Kind::Nats, Kind::Azurite] {
        load.record().phase("all well");
        tokio::time::sleep(BEFORE).await;
        again(&world, load.record(), kind).await.unwrap();
    }
    let record = load.stop().await.unwrap();
    println!("{record}");
    assert_eq!(record.wrong(), Vec::<String>::new(), "{record}");

    let totals = truth.compare(&desk, &world, &record).await.unwrap();
    println!("{totals}");
    assert!(totals.accepted > 30, "{totals}");
    // None of the processes went with a server.
    fleet.process_ids().unwrap();
}

/// Stops a server, and starts it again after a while; returns when requests are answered as before.
async fn again(world: &World, record: &Record, kind: Kind) -> Result<()> {
    let name = format!("{kind:?}").to_lowercase();
    record.phase(&format!("{name} away"));
    match kind {
        // As if the machine had failed.
        Kind::Postgres => world.postgres.stop(StopMode::Immediate).await?,
        // It comes back empty.
        Kind::Redis => world.redis.stop(StopMode::Immediate).await?,
        Kind::Nats => world.nats.stop(StopMode::Immediate).await?,
        // It writes down only from time to time what it has acknowledged, and at its end.
        Kind::Azurite => world.azurite.stop(StopMode::Fast).await?,
    }
    tokio::time::sleep(AWAY).await;
    match kind {
        Kind::Postgres => world.postgres.restart().await?,
        Kind::Redis => world.redis.restart().await?,
        Kind::Nats => world.nats.restart().await?,
        Kind::Azurite => world.azurite.restart().await?,
    }
    record.phase(&format!("{name} back"));
    record.quiet(IN_A_ROW, AT_MOST).await.map(drop)
}
