//! The isolation table: every operation, tried on one's own row, on another tenant's, and on one
//! that nobody has.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::{Specimen, SpecimenId, Subject, new_tenant};
use crate::{Changes, Filter, Query, Repository, RepositoryExt as _, Result, Version};

/// What each operation answered, as a table to review.
const EXPECTED: &str = include_str!("isolation.txt");

/// The source of the trait: an operation that is in it and not in the table fails the test.
const TRAIT: &str = include_str!("../repository/mod.rs");

type Specimens = Arc<dyn Repository<Specimen>>;

#[async_trait]
trait Operation: Sync {
    fn name(&self) -> &'static str;

    /// Tries the operation on the row with the identifier of `row`, and tells what it answered.
    async fn attempt(&self, specimens: &Specimens, row: Specimen) -> Result<String>;
}

macro_rules! operations {
    ($($name:ident: |$specimens:ident, $row:ident| $body:expr;)*) => {
        $(
            #[allow(non_camel_case_types)]
            struct $name;

            #[async_trait]
            impl Operation for $name {
                fn name(&self) -> &'static str {
                    stringify!($name)
                }

                #[allow(unused_mut)]
                async fn attempt(&self, $specimens: &Specimens, mut $row: Specimen) -> Result<String> {
                    $body
                }
            }
        )*

        const OPERATIONS: &[&dyn Operation] = &[$(&$name),*];
    };
}

operations! {
    find: |specimens, row| {
        Ok(specimens.find(&row.id).await?.map_or("none", |_| "the row").to_owned())
    };
    get_many: |specimens, row| {
        Ok(format!("{} rows", specimens.get_many(&[row.id]).await?.len()))
    };
    exists: |specimens, row| Ok(specimens.exists(&row.id).await?.to_string());
    count: |specimens, row| Ok(specimens.count(Specimen::ID.eq(row.id)).await?.to_string());
    list: |specimens, row| {
        let page = specimens.list(Query::new().filter(Specimen::ID.eq(row.id))).await?;
        Ok(format!("{} rows", page.items.len()))
    };
    stream: |specimens, row| {
        let query = Query::new().filter(Specimen::ID.eq(row.id));
        let rows: Vec<Specimen> = specimens.stream(query).try_collect().await?;
        Ok(format!("{} rows", rows.len()))
    };
    insert: |specimens, row| {
        row.version = Version::NEW;
        specimens.insert(&mut row).await.map(|()| format!("version {}", row.version))
    };
    insert_many: |specimens, row| {
        row.version = Version::NEW;
        let mut rows = [row];
        specimens.insert_many(&mut rows).await.map(|()| format!("version {}", rows[0].version))
    };
    update: |specimens, row| {
        specimens.update(&mut row).await.map(|()| format!("version {}", row.version))
    };
    delete_by_id: |specimens, row| {
        specimens.delete_by_id(&row.id, None).await.map(|()| "deleted".to_owned())
    };
    upsert: |specimens, row| {
        specimens.upsert(&mut row).await.map(|()| format!("version {}", row.version))
    };
    update_where: |specimens, row| {
        let changes = Changes::new().add(Specimen::BIG, 1);
        let changed = specimens.update_where(Specimen::ID.eq(row.id), changes, 10).await?;
        Ok(format!("{changed} rows"))
    };
    delete_where: |specimens, row| {
        let deleted = specimens.delete_where(Specimen::ID.eq(row.id), 10).await?;
        Ok(format!("{deleted} rows"))
    };
    restore: |specimens, row| {
        specimens.restore(&row.id).await.map(|()| "restored".to_owned())
    };
    purge: |specimens, row| {
        specimens.purge(row.seen_at, 10).await.map(|purged| format!("{purged} rows"))
    };
}

/// Every operation answers for another tenant's row as for one that nobody has, and leaves it alone.
pub async fn every_operation_keeps_to_its_tenant(subject: &dyn Subject) {
    let mut table = format!(
        "{:<14}{:<20}{:<20}{:<20}\n",
        "operation", "own", "other", "unknown"
    );
    for operation in OPERATIONS {
        let (_, ours) = new_tenant(subject);
        let (_, theirs) = new_tenant(subject);
        let mut own = Specimen::named("own");
        let mut other = Specimen::named("other");
        ours.insert(&mut own).await.unwrap();
        theirs.insert(&mut other).await.unwrap();
        let unknown = Specimen {
            version: Version::new(1),
            ..Specimen::named("unknown")
        };
        let _ = write!(table, "{:<14}", operation.name());
        for row in [own, other.clone(), unknown] {
            let answer = match operation.attempt(&ours, row).await {
                Ok(answer) => answer,
                Err(error) => error.kind().to_string(),
            };
            let _ = write!(table, "{answer:<20}");
        }
        table.push('\n');
        assert_eq!(
            theirs.get(other.id).await.unwrap(),
            other,
            "after {}",
            operation.name()
        );
        assert_eq!(
            theirs.count(Filter::all()).await.unwrap(),
            1,
            "after {}",
            operation.name()
        );
    }
    let table: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    assert_eq!(
        table, EXPECTED,
        "the isolation table differs; this is what was seen:\n{table}"
    );

    let body = TRAIT
        .split_once("pub trait Repository<A: Aggregate>")
        .unwrap()
        .1;
    for line in body.lines().map(str::trim_start) {
        let rest = line
            .strip_prefix("async fn ")
            .or_else(|| line.strip_prefix("fn "));
        if let Some((name, _)) = rest.and_then(|rest| rest.split_once('(')) {
            // The tenant itself is the one that the handle was made for.
            let is_tried =
                name == "tenant" || OPERATIONS.iter().any(|operation| operation.name() == name);
            assert!(
                is_tried,
                "the operation {name} is missing from the isolation table"
            );
        }
    }
}

/// The error for another tenant's row reads as that for a missing one, but for the identifier.
pub async fn foreign_and_missing_answer_alike(subject: &dyn Subject) {
    let (_, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    for operation in OPERATIONS {
        let mut other = Specimen::named("other");
        theirs.insert(&mut other).await.unwrap();
        let missing = Specimen {
            id: SpecimenId(Uuid::now_v7()),
            ..other.clone()
        };
        let ids = [other.id.to_string(), missing.id.to_string()];
        let answers = [
            operation.attempt(&ours, other).await,
            operation.attempt(&ours, missing).await,
        ]
        .map(|answer| match answer {
            Ok(answer) => answer,
            Err(error) => format!("{error} {error:?}"),
        });
        assert_eq!(
            answers[0].replace(&ids[0], "…"),
            answers[1].replace(&ids[1], "…"),
            "{}",
            operation.name()
        );
    }
    let foreign = ours
        .get(theirs.list(Query::new()).await.unwrap().items[0].id)
        .await
        .unwrap_err();
    let missing = ours.get(SpecimenId(Uuid::nil())).await.unwrap_err();
    let shape = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (foreign, missing) = (shape(foreign.to_string()), shape(missing.to_string()));
    assert_eq!(
        (&foreign[..2], &foreign[3..]),
        (&missing[..2], &missing[3..])
    );
}
