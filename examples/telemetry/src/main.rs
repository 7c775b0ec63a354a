//! Places an order, and sends what an operator sees of it to a collector.
//!
//! ```sh
//! otelcol --config observability/collector.yml &
//! cargo run --package telemetry
//! ```

use std::error::Error;

use telemetry::{Telemetry, place_an_order};

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::start("orders")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let placed = runtime.block_on(place_an_order());
    // Outside the runtime, for it waits.
    if let Err(error) = telemetry.shutdown() {
        tracing::warn!(%error, "the collector has not got all");
    }
    Ok(placed?)
}
