//! Reports as files, page by page of their lines, the longest delay first.

mod csv;
mod parquet;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tenantry::prelude::*;

use self::csv::Csv;
use self::parquet::Parquet;
use super::{DelayFact, ReportFormat};

/// A file that is written as it is read.
pub(super) struct ReportFile {
    pub(super) body: BoxStream<'static, Result<Bytes>>,
    /// How many delays are in what was read of the body by now.
    pub(super) lines: Arc<AtomicI64>,
}

/// Makes bytes of delays, page by page: no file is ever in memory as a whole.
trait Format: Send + 'static {
    /// How many delays are in memory at a time.
    const LINES: u32 = 1_000;

    /// Returns the bytes of a page, and what stands before the first.
    fn page(&mut self, facts: &[DelayFact]) -> Result<Bytes>;

    /// Returns what stands behind the last.
    fn end(self) -> Result<Bytes>;
}

impl ReportFile {
    /// Returns the file of the delays of a tenant, from so many minutes on.
    pub(super) fn new(
        scope: &TenantScope,
        format: ReportFormat,
        least_minutes: i32,
    ) -> Result<Self> {
        Ok(match format {
            ReportFormat::Csv => Self::written(scope, Csv::new(), least_minutes),
            ReportFormat::Parquet => Self::written(scope, Parquet::new()?, least_minutes),
        })
    }

    fn written<F: Format>(scope: &TenantScope, format: F, least_minutes: i32) -> Self {
        enum Next<F> {
            Page(F, Option<Cursor>),
            Ending(F),
            Nothing,
        }
        let lines = Arc::new(AtomicI64::new(0));
        let source = (scope.repository::<DelayFact>(), Arc::clone(&lines));
        let first = Next::Page(format, None);
        let body = stream::try_unfold((source, first), move |(source, next)| async move {
            let (mut format, cursor) = match next {
                Next::Page(format, cursor) => (format, cursor),
                Next::Ending(format) => return Ok(Some((format.end()?, (source, Next::Nothing)))),
                Next::Nothing => return Ok(None),
            };
            let (facts, lines) = &source;
            let mut query = Query::new()
                .filter(DelayFact::MINUTES.ge(least_minutes))
                .sort(DelayFact::MINUTES.desc())
                .limit(F::LINES);
            if let Some(cursor) = cursor {
                query = query.cursor(cursor);
            }
            let page = facts.list(query).await?;
            let bytes = format.page(&page.items)?;
            let count = i64::try_from(page.items.len()).unwrap_or(i64::MAX);
            lines.fetch_add(count, Ordering::Relaxed);
            let next = match page.next {
                Some(cursor) => Next::Page(format, Some(cursor)),
                None => Next::Ending(format),
            };
            Ok(Some((bytes, (source, next))))
        });
        Self {
            body: body.boxed(),
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use futures_util::TryStreamExt as _;
    use tenantry::Migrations;
    use uuid::Uuid;

    use super::*;

    /// Writes the minutes of two delays at a time.
    struct Minutes;

    impl Format for Minutes {
        const LINES: u32 = 2;

        fn page(&mut self, facts: &[DelayFact]) -> Result<Bytes> {
            let minutes: Vec<_> = facts.iter().map(|it| it.minutes.to_string()).collect();
            Ok(minutes.join(" ").into())
        }

        fn end(self) -> Result<Bytes> {
            Ok("end".into())
        }
    }

    fn tables(sql: &'static str) -> Migrations {
        Migrations::embedded(&[(1, "tables", sql)])
    }

    #[tenantry_testkit::test(
        postgres = tables(include_str!("../../../migrations/postgres/reporting.sql")),
        sqlite = tables(include_str!("../../../migrations/sqlite/reporting.sql"))
    )]
    async fn a_file_has_each_delay_once_page_by_page_and_counts_them(storage: Storage) {
        let [own, other] =
            [TenantId::generate(), TenantId::generate()].map(|it| storage.tenant(it));
        for (tenant, minutes) in [(&own, [90, 60, 59, 300, 60, 75]), (&other, [61; 6])] {
            let mut facts = minutes.map(|minutes| DelayFact {
                id: Uuid::now_v7(),
                number: 1,
                origin: "EWR".to_owned(),
                destination: "IAH".to_owned(),
                scheduled_departure: DateTime::UNIX_EPOCH,
                minutes,
                version: Version::NEW,
            });
            tenant.repository().insert_many(&mut facts).await.unwrap();
        }
        let file = ReportFile::written(&own, Minutes, 60);
        let parts: Vec<_> = file.body.try_collect().await.unwrap();
        assert_eq!(parts, ["300 90", "75 60", "60", "end"]);
        assert_eq!(file.lines.load(Ordering::Relaxed), 5);
    }
}
