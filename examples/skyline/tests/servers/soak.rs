//! Memory and connections of the product under load: for a moment in each run, and by `scripts/soak` as long as one likes.

use std::time::{Duration, Instant};

use skyline::PartName;

use super::fleet::Fleet;
use super::gauges::{Gauges, Mark, is_flat};
use super::kills::free_ports;
use super::load::{IN_FLIGHT, Load, REQUESTS, number, rate, settled};
use super::world::World;

/// How often is looked, for as long as it takes.
const LOOKS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_connections_stay_flat_under_load() {
    let lasts = Duration::from_secs(number("SKYLINE_SOAK_SECONDS", 20));
    let world = World::own().await.unwrap();
    let program = env!("CARGO_BIN_EXE_skyline").into();
    let fleet = Fleet::start_for(&world, program, free_ports(), Some(REQUESTS)).await;
    let mut fleet = fleet.unwrap();
    let desk = fleet.desk().unwrap();
    let truth = settled(&desk, &world).await.unwrap();
    let gauges = Gauges::new(fleet.process_ids().unwrap(), &world, &truth);

    let load = Load::start(&desk, &truth, rate()).await.unwrap();
    load.record().phase("soak");
    let started = Instant::now();
    let every = lasts / u32::try_from(LOOKS).unwrap();
    println!("{}", Gauges::HEAD);
    let mut marks = Vec::new();
    for look in 1.. {
        tokio::time::sleep((every * look).saturating_sub(started.elapsed())).await;
        let mark = gauges.look(load.record(), started).await.unwrap();
        println!("{mark}");
        marks.push(mark);
        if started.elapsed() >= lasts {
            break;
        }
    }
    let record = load.stop().await.unwrap();
    println!("{record}");
    assert_eq!(record.wrong(), Vec::<String>::new(), "{record}");
    let (answers, refused) = record.counts();
    // A machine that has much else to do may let a server answer too late.
    assert!(refused * 100 <= answers, "{record}");
    assert!(answers > 50 * lasts.as_secs(), "{record}");
    fleet.process_ids().unwrap();
    let totals = truth.compare(&desk, &world, &record).await.unwrap();
    println!("{totals}");

    let of = |what: &dyn Fn(&Mark) -> u64| marks.iter().map(what).collect::<Vec<_>>();
    for (place, part) in PartName::ALL.iter().enumerate() {
        let part = part.as_str();
        // In KiB.
        let memory = of(&|mark| mark.memory[place]);
        is_flat(&format!("memory of {part}"), &memory, 10, 8 << 10).unwrap();
        let files = of(&|mark| mark.files[place]);
        // A connection for each request that waits, which is more of them where the machine has much else to do.
        let slack = u64::from(IN_FLIGHT);
        is_flat(&format!("open files of {part}"), &files, 10, slack).unwrap();
    }
    is_flat(
        "connections at PostgreSQL",
        &of(&|mark| mark.postgres),
        10,
        3,
    )
    .unwrap();
    is_flat("clients of Redis", &of(&|mark| mark.redis), 10, 2).unwrap();
    is_flat("connections at NATS", &of(&|mark| mark.nats), 10, 2).unwrap();
}
