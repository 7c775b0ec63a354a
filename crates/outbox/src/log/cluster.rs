//! A database that was restored into another cluster, whose transaction ids mean nothing there.

use std::sync::Arc;

use tenantry_core::Result;
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnWork};

use super::{CLUSTER, Log, Progress};

impl Log {
    /// Makes the positions good for the cluster that the database is in; true if it was in another.
    ///
    /// A dump brings rows and positions with the transaction ids of the cluster that it was taken of. Ids of the new one
    /// may be lower: a snapshot of before would show what has not left. So what had left is deleted, what had not gets the id of this
    /// transaction, and all positions begin anew.
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
        if !is_here {
            tracing::warn!(
                target: "tenantry::outbox",
                "the database was restored into another cluster: what had not left is read anew"
            );
            self.begin_anew(&mut work).await?;
        }
        work.commit().await?;
        Ok(!is_here)
    }

    async fn begin_anew(&self, work: &mut OwnWork) -> Result<()> {
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let mut positions: Vec<(i16, Progress)> = Vec::new();
        work.fetch(&settling(&self.texts.all_positions, &nothing), &mut |row| {
            let partition = row.integer(0)?.and_then(|it| i16::try_from(it).ok());
            let position = row.text(1)?.unwrap_or_default().parse()?;
            positions.push((partition.ok_or(super::NO_PARTITION)?, position));
            Ok(())
        })
        .await?;
        while let Some((_, progress)) = positions.first().cloned() {
            let (alike, others): (Vec<_>, Vec<_>) = positions
                .into_iter()
                .partition(|(_, other)| *other == progress);
            positions = others;
            let partitions: Vec<_> = alike.into_iter().map(|(partition, _)| partition).collect();
            let partitions = self.list(&partitions);
            for (share, position) in progress.parts() {
                let tenants = self.tenants(&share);
                let bind = |arguments: &mut Arguments<'_>| {
                    arguments.value().text(position.after())?;
                    arguments
                        .value()
                        .text(position.upto().unwrap_or(position.after()))?;
                    arguments.value().int64(position.cursor())?;
                    arguments.value().int64(position.floor())?;
                    arguments.value().text(&partitions)?;
                    arguments.value().text(&tenants)?;
                    arguments.value().bool(share.is_theirs)
                };
                work.execute(&settling(&self.texts.delete_left, &bind))
                    .await?;
            }
        }
        for sql in [
            &self.texts.adopt,
            &self.texts.forget_positions,
            &self.texts.forget_claims,
            &self.texts.enter_cluster,
        ] {
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
