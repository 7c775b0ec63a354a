//! A tenant that is suspended while it is at work.

use std::time::Duration;

use skyline::{Airline, Browser, Desk, Result, Slug};
use tenantry_testkit::StopMode;

use super::fleet::Fleet;
use super::kills::free_ports;
use super::load::{Load, REQUESTS, Served, rate, settled};
use super::world::World;

/// The places of the two at work in a load.
const UNITED: usize = 0;
const JETBLUE: usize = 1;

const WHILE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_suspended_under_load_gets_nothing_more_and_loses_nothing_and_another_goes_on() {
    let world = World::own().await.unwrap();
    let program = env!("CARGO_BIN_EXE_skyline").into();
    let fleet = Fleet::start_for(&world, program, free_ports(), Some(REQUESTS)).await;
    let fleet = fleet.unwrap();
    let desk = fleet.desk().unwrap();
    let truth = settled(&desk, &world).await.unwrap();
    let olga = operator(&desk).await.unwrap();

    let load = Load::start(&desk, &truth, rate()).await.unwrap();
    let record = load.record();
    record.phase("all well");
    tokio::time::sleep(WHILE).await;
    // What is accepted now waits in the outbox, and no event can tell the edge of the suspension.
    world.nats.stop(StopMode::Immediate).await.unwrap();
    record.phase("broker away");
    tokio::time::sleep(WHILE).await;

    record.serve(JETBLUE, Served::Changing);
    suspend(&olga, true).await.unwrap();
    record.serve(JETBLUE, Served::No);
    record.phase("suspended");
    tokio::time::sleep(WHILE).await;
    world.nats.restart().await.unwrap();
    record.phase("broker back");
    // What it had told before is told of while it is suspended.
    truth.told_of_all(record, JETBLUE).await.unwrap();

    record.serve(JETBLUE, Served::Changing);
    suspend(&olga, false).await.unwrap();
    record.serve(JETBLUE, Served::Yes);
    record.phase("served again");
    tokio::time::sleep(WHILE).await;
    let record = load.stop().await.unwrap();
    println!("{record}");
    assert_eq!(record.wrong(), Vec::<String>::new(), "{record}");
    // A machine that has much else to do may let a server answer too late, now and then.
    let few = record.counts().0 / 100;
    assert!(record.refused_since("all well", UNITED) <= few, "{record}");
    let refused = record.refused_since("suspended", JETBLUE);
    assert!(refused > 50, "{record}");
    assert!(
        record.refused_since("served again", JETBLUE) <= few,
        "{record}"
    );

    let totals = truth.compare(&desk, &world, &record).await.unwrap();
    println!("{totals}");
    assert!(totals.accepted > 10, "{totals}");
}

async fn operator(desk: &Desk) -> Result<Browser> {
    let mut olga = Browser::at(desk.edge(), Slug::OPERATOR);
    let code = desk.code(Slug::OPERATOR)?;
    match olga.sign_in("olga", &code).await?.status {
        303 => Ok(olga),
        status => Err(format!("the operator cannot sign in: {status}").into()),
    }
}

/// Returns when it is acknowledged.
async fn suspend(olga: &Browser, is_suspended: bool) -> Result<()> {
    let path = format!("/tenants/{}/status", Airline::ALL[JETBLUE].slug);
    let form = format!("is_suspended={is_suspended}");
    match olga.post(&path, &form).await?.status {
        303 => Ok(()),
        status => Err(format!("the status is not changed: {status}").into()),
    }
}
