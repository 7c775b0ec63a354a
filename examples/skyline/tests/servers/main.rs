//! The product over PostgreSQL, Redis, NATS and Azurite.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "../delays/mod.rs"]
mod delays;
mod fleet;
mod gauges;
mod kills;
mod load;
mod restarts;
mod soak;
mod suspension;
mod world;

use skyline::{Skyline, tell};

use self::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_story_holds_over_servers_with_other_settings_alone() {
    let world = World::new().await.unwrap();
    let setups = world.setups().unwrap();
    let skyline = Skyline::start(world.keys(), setups, 0).await.unwrap();
    let mut lines = Vec::new();
    let told = tell(skyline.desk(), |line| lines.push(line.to_owned())).await;
    told.unwrap_or_else(|error| panic!("{error}, after {lines:#?}"));
    skyline.stop().await.unwrap();
}
