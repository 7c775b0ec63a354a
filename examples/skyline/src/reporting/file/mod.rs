//! Reports as files, page by page of their lines, the longest delay first.

mod csv;
mod parquet;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tenantry::prelude::*;

use self::csv::Csv;
use self::parquet::Parquet;
use super::{DelayFact, ReportFormat};

/// How many lines of a file are in memory at a time.
const LINES: u32 = 1_000;

/// What makes bytes of lines.
enum Writer {
    Csv(Csv),
    Parquet(Box<Parquet>),
}

/// What of a file comes next.
enum Next {
    /// What stands before the lines.
    Beginning,
    Page(Option<Cursor>),
    /// What stands behind them.
    Ending,
    Nothing,
}

/// Returns the bytes of a file with the delays of a tenant, from so many minutes on.
pub(super) fn file(
    scope: &TenantScope,
    format: ReportFormat,
    least_minutes: i32,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let facts = scope.repository::<DelayFact>();
    let state = (facts, None, Next::Beginning);
    stream::try_unfold(state, move |(facts, writer, next)| async move {
        let mut writer = match writer {
            Some(writer) => writer,
            None => Writer::new(format)?,
        };
        let next = match next {
            Next::Nothing => return Ok(None),
            Next::Beginning => Next::Page(None),
            Next::Page(cursor) => {
                let mut query = Query::new()
                    .filter(DelayFact::MINUTES.ge(least_minutes))
                    .sort(DelayFact::MINUTES.desc())
                    .limit(LINES);
                if let Some(cursor) = cursor {
                    query = query.cursor(cursor);
                }
                let page = facts.list(query).await?;
                writer.write(&page.items)?;
                match page.next {
                    Some(cursor) => Next::Page(Some(cursor)),
                    None => Next::Ending,
                }
            }
            Next::Ending => {
                writer.end()?;
                Next::Nothing
            }
        };
        let bytes = writer.take()?;
        Ok(Some((bytes, (facts, Some(writer), next))))
    })
}

impl Writer {
    fn new(format: ReportFormat) -> Result<Self> {
        Ok(match format {
            ReportFormat::Csv => Self::Csv(Csv::new()),
            ReportFormat::Parquet => Self::Parquet(Box::new(Parquet::new()?)),
        })
    }

    fn write(&mut self, facts: &[DelayFact]) -> Result<()> {
        match self {
            Self::Csv(csv) => {
                csv.write(facts);
                Ok(())
            }
            Self::Parquet(parquet) => parquet.write(facts),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self {
            Self::Csv(_) => Ok(()),
            Self::Parquet(parquet) => parquet.end(),
        }
    }

    /// Takes what was made since the last time.
    fn take(&mut self) -> Result<Bytes> {
        match self {
            Self::Csv(csv) => Ok(csv.take()),
            Self::Parquet(parquet) => parquet.take(),
        }
    }
}
