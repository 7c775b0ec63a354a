//! Rows that were appended in another cluster, whose transaction ids mean nothing here.

use std::sync::Arc;

use tenantry_core::Result;
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnWork};

use super::{CLUSTER, Log, MESSAGES};

/// How rows of another cluster have come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// With the whole database: positions are of there as well.
    Restored,
    /// By themselves, beside what is of here.
    Arrived,
}

impl Log {
    /// Makes rows and positions good for the cluster that the database is in; true if some were of another.
    ///
    /// A dump brings rows and positions with the transaction ids of the cluster that it was taken of. Ids of the new one
    /// may be lower: a snapshot of before would show what has not left. So what had left is deleted, what had not gets the id of this
    /// transaction, and all positions begin anew. Where the data alone were brought into tables of here, nothing
    /// tells what of them had left: all of it is appended anew, before what stands here.
    pub(crate) async fn settle_in_cluster(&self) -> Result<bool> {
        if self.engine != Engine::Postgres {
            return Ok(false);
        }
        let mut work = self.begin("settle in cluster").await?;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        work.execute(&settling(&self.texts.first_cluster, &nothing))
            .await?;
        let mut is_here = false;
        work.fetch(&settling(&self.texts.is_in_cluster, &nothing), &mut |row| {
            is_here = row.bool(0)?.unwrap_or_default();
            Ok(())
        })
        .await?;
        let origin = match is_here {
            false => Some(Origin::Restored),
            true if self.has_arrived_in_tx(&mut work).await? => Some(Origin::Arrived),
            true => None,
        };
        match origin {
            Some(Origin::Restored) => tracing::warn!(
                target: "tenantry::outbox",
                "the database was restored into another cluster: what had not left is read anew"
            ),
            Some(Origin::Arrived) => tracing::warn!(
                target: "tenantry::outbox",
                "messages were brought from elsewhere: they are appended anew"
            ),
            None => {}
        }
        if let Some(origin) = origin {
            self.begin_anew(&mut work, origin).await?;
        }
        work.commit().await?;
        Ok(origin.is_some())
    }

    /// Returns whether there are rows that were appended elsewhere.
    pub(crate) async fn has_arrived(&self) -> Result<bool> {
        if self.engine != Engine::Postgres {
            return Ok(false);
        }
        let mut work = self.read_one("look for what has arrived").await?;
        self.has_arrived_in_tx(&mut work).await
    }

    async fn has_arrived_in_tx(&self, work: &mut OwnWork) -> Result<bool> {
        let mut has_arrived = false;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let statement = OwnStatement {
            operation: "look for what has arrived",
            table: &MESSAGES,
            sql: &self.texts.has_arrived,
            bind: &nothing,
        };
        work.fetch(&statement, &mut |row| {
            has_arrived = row.bool(0)?.unwrap_or_default();
            Ok(())
        })
        .await?;
        Ok(has_arrived)
    }

    async fn begin_anew(&self, work: &mut OwnWork, origin: Origin) -> Result<()> {
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let stands = self.stands_in_tx(work).await?;
        // Claims first, as every write of a worker does.
        for sql in [&self.texts.forget_claims, &self.texts.forget_positions] {
            work.execute(&settling(sql, &nothing)).await?;
        }
        for stand in &stands {
            let (partitions, tenants) = self.written(stand);
            let bind = |arguments: &mut Arguments<'_>| {
                stand.bind(arguments)?;
                arguments.value().int64(stand.floor())?;
                arguments.value().text(&partitions)?;
                arguments.value().text(&tenants)?;
                arguments.value().bool(stand.share.is_theirs)?;
                arguments.value().bool(origin == Origin::Restored)
            };
            // Of what is of here alone, where it is beside what has arrived.
            work.execute(&settling(&self.texts.delete_left, &bind))
                .await?;
        }
        let last: &[_] = match origin {
            Origin::Restored => &[&self.texts.adopt, &self.texts.enter_cluster],
            Origin::Arrived => &[
                &self.texts.delete_parked,
                &self.texts.renumber_parked,
                &self.texts.append_anew,
            ],
        };
        for sql in last {
            work.execute(&settling(sql, &nothing)).await?;
        }
        Ok(())
    }
}

fn settling<'a>(sql: &'a Arc<str>, bind: &'a BindOwn<'a>) -> OwnStatement<'a> {
    OwnStatement {
        operation: "settle in cluster",
        table: &CLUSTER,
        sql,
        bind,
    }
}
