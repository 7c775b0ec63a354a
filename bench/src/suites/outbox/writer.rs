//! Units of work with a message and without.

use std::sync::Arc;

use tenantry_outbox::{NewMessage, Outbox};
use tenantry_store::{Repository as _, RepositoryExt as _, TenantStore};

use super::{Bench, cost};
use crate::database::Fixture;
use crate::error::Result;
use crate::model::{Key, Order};
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};
use crate::suites::{TASKS, settle};

/// How many bytes a message has.
const PAYLOAD: usize = 400;

pub(super) async fn run(
    bench: &Bench,
    report: &mut Report,
    fixture: &Fixture,
    keys: &Arc<[Key]>,
) -> Result<()> {
    // By a statement of its own before the commit, and along with the last write.
    for (suite, rides) in [("outbox-writer", false), ("outbox-rider", true)] {
        let store = bench.store(Link::Loopback, fixture).await?;
        let with = Work {
            outbox: Some(Outbox::new(&store)),
            rides,
            store,
            keys: Arc::clone(keys),
        };
        let without = Work {
            outbox: None,
            rides,
            store: bench.store(Link::Loopback, fixture).await?,
            keys: Arc::clone(keys),
        };
        cost::run(bench, report, suite, [&with, &without], PAYLOAD).await?;
        let sides = [
            Side::new("with-message", with),
            Side::new("without-message", without),
        ];
        settle().await;
        let measurements = bench.runner.latencies(&sides).await?;
        report.add_latencies(suite, Link::Loopback, &measurements, &[Target::None]);
        let rates = bench.runner.throughput(&sides, TASKS).await?;
        let names = ["with-message", "without-message"];
        let targets = [Target::TimesAtLeast(0.85)];
        report.add_throughput(suite, Link::Loopback, &names, &rates, TASKS, &targets);
    }
    Ok(())
}

/// One row read, changed and stored, one stored beside it, and what tells of it.
pub(super) struct Work {
    outbox: Option<Outbox>,
    rides: bool,
    store: TenantStore,
    keys: Arc<[Key]>,
}

impl Operation for Work {
    type Input = (Key, Order);

    fn prepare(&self, turn: usize) -> (Key, Order) {
        (self.keys[turn % self.keys.len()], Order::fresh(turn))
    }

    async fn run(&self, (key, mut fresh): (Key, Order)) -> Result<()> {
        let work = self.store.tenant(key.tenant).begin().await?;
        let orders = work.repository::<Order>();
        let mut order = orders.get(key.id).await?;
        order.total_cents += 1;
        orders.update(&mut order).await?;
        if !self.rides {
            orders.insert(&mut fresh).await?;
        }
        if let Some(outbox) = &self.outbox {
            let message = NewMessage::new("orders.changed", key.id.to_string());
            outbox.append_message(
                &work,
                message.with_payload("text/plain", vec![b'x'; PAYLOAD]),
            )?;
        }
        match self.rides {
            true => work.commit_with_insert(&mut fresh).await?,
            false => work.commit().await?,
        }
        Ok(())
    }
}
