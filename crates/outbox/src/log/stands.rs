//! How far each part of the keys is, of all workers.

use tenantry_core::Result;
use tenantry_store::ValueError;
use tenantry_store::own::{Arguments, OwnStatement, OwnWork};

use super::{Log, NO_PARTITION, PARTITIONS, Position, Progress, Share};

/// How far some parts are with some tenants.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub(super) partitions: Vec<i16>,
    pub(super) share: Share,
    position: Position,
}

impl Log {
    /// Reads how far all parts are.
    pub(super) async fn stands_in_tx(&self, work: &mut OwnWork) -> Result<Vec<Stand>> {
        let mut alike: Vec<(Progress, Vec<i16>)> = Vec::new();
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let statement = OwnStatement {
            operation: "read positions",
            table: &PARTITIONS,
            sql: &self.texts.all_positions,
            bind: &nothing,
        };
        work.fetch(&statement, &mut |row| {
            let partition = row.integer(0)?.and_then(|it| i16::try_from(it).ok());
            let partition = partition.ok_or(NO_PARTITION)?;
            let progress: Progress = row.text(1)?.unwrap_or_default().parse()?;
            match alike.iter_mut().find(|(other, _)| *other == progress) {
                Some((_, partitions)) => partitions.push(partition),
                None => alike.push((progress, vec![partition])),
            }
            Ok(())
        })
        .await?;
        let mut stands = Vec::new();
        for (progress, partitions) in &alike {
            stands.extend(progress.parts().map(|(share, position)| Stand {
                partitions: partitions.clone(),
                share,
                position: position.clone(),
            }));
        }
        Ok(stands)
    }

    /// Returns the parts and the tenants of a stand, as arguments.
    pub(super) fn written(&self, stand: &Stand) -> (String, String) {
        (self.list(&stand.partitions), self.tenants(&stand.share))
    }
}

impl Stand {
    /// Binds the snapshot that shows what has left, the one up to which is read, and how far that is done.
    pub(super) fn bind(&self, arguments: &mut Arguments<'_>) -> Result<(), ValueError> {
        let position = &self.position;
        arguments.value().text(position.after())?;
        arguments
            .value()
            .text(position.upto().unwrap_or(position.after()))?;
        arguments.value().int64(position.cursor())
    }

    /// Returns the highest position that the first of them shows.
    pub(super) const fn floor(&self) -> i64 {
        self.position.floor()
    }
}
