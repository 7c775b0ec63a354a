//! What reports are made of, and what becomes of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry::prelude::*;
use uuid::Uuid;

/// A report that a tenant may have made: the delays from so many minutes on.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "report_definitions")]
pub(crate) struct ReportDefinition {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) least_minutes: i32,
    pub(crate) format: ReportFormat,
    /// Whether each delay that belongs into it has it made anew.
    pub(crate) runs_by_itself: bool,
    /// How long its files are kept; the class says between which bounds.
    pub(crate) retention_days: i32,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// One time that a report is made.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "report_runs")]
pub(crate) struct ReportRun {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) definition: Uuid,
    // As the definition was when the run was asked for.
    pub(crate) name: String,
    pub(crate) least_minutes: i32,
    pub(crate) format: ReportFormat,
    pub(crate) retention_days: i32,
    pub(crate) state: RunState,
    /// Until when whoever makes it has it for itself.
    pub(crate) lease_until: Option<DateTime<Utc>>,
    pub(crate) attempts: i32,
    /// The file, once it is made.
    pub(crate) artifact: Option<Uuid>,
    pub(crate) lines: i64,
    /// The `traceparent` of the request that it comes from.
    pub(crate) trace: Option<String>,
    pub(crate) requested_by: String,
    pub(crate) requested_at: DateTime<Utc>,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// In what form a report is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReportFormat {
    /// For people, and for what reads everything.
    Csv,
    /// For whoever reckons with much of it.
    Parquet,
}

impl ReportFormat {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Returns how a file is called that has this content type.
    pub(super) fn file_name(content_type: &str) -> &'static str {
        match content_type == Self::Parquet.content_type() {
            true => "report.parquet",
            false => "report.csv",
        }
    }
}

/// What becomes of a run.
///
/// ```text
/// Queued ── lease ──▶ Running ── file and row are committed ──▶ Done
///    ▲                   │ failed, or its lease is over
///    └───────────────────┴── three times in vain ──▶ Failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    Queued,
    Running,
    Done,
    Failed,
}

/// What Reporting has heard of a delay.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "delay_facts")]
pub(crate) struct DelayFact {
    /// That of the flight.
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) number: i32,
    pub(crate) origin: String,
    pub(crate) destination: String,
    pub(crate) scheduled_departure: DateTime<Utc>,
    pub(crate) minutes: i32,
    #[aggregate(version)]
    pub(crate) version: Version,
}

impl ReportRun {
    /// Asks for a report, within the request of a unit of work.
    pub(super) fn of(
        definition: &ReportDefinition,
        context: &RequestContext,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            definition: definition.id,
            name: definition.name.clone(),
            least_minutes: definition.least_minutes,
            format: definition.format,
            retention_days: definition.retention_days,
            state: RunState::Queued,
            lease_until: None,
            attempts: 0,
            artifact: None,
            lines: 0,
            trace: context.trace().map(|trace| trace.to_string()),
            requested_by: context.actor().as_str().to_owned(),
            requested_at: at,
            version: Version::NEW,
        }
    }

    /// Returns what is to be done at a time: what waits, and what its maker has not ended in time.
    pub(super) fn to_do(now: DateTime<Utc>) -> Filter<Self> {
        let is_left = Self::STATE
            .eq(RunState::Running)
            .and(Self::LEASE_UNTIL.lt(now));
        Self::STATE.eq(RunState::Queued).or(is_left)
    }
}

/// What others see of a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DefinitionView {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) least_minutes: i32,
    pub(crate) format: ReportFormat,
    pub(crate) runs_by_itself: bool,
    pub(crate) retention_days: i32,
}

/// What others see of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunView {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) state: RunState,
    pub(crate) lines: i64,
    pub(crate) trace: Option<String>,
    pub(crate) requested_by: String,
    pub(crate) requested_at: DateTime<Utc>,
}

impl From<ReportDefinition> for DefinitionView {
    fn from(definition: ReportDefinition) -> Self {
        Self {
            id: definition.id,
            name: definition.name,
            least_minutes: definition.least_minutes,
            format: definition.format,
            runs_by_itself: definition.runs_by_itself,
            retention_days: definition.retention_days,
        }
    }
}

impl From<ReportRun> for RunView {
    fn from(run: ReportRun) -> Self {
        let trace = run.trace.and_then(|text| text.parse::<TraceParent>().ok());
        Self {
            id: run.id,
            name: run.name,
            state: run.state,
            lines: run.lines,
            trace: trace.map(|trace| trace.trace_id_hex()),
            requested_by: run.requested_by,
            requested_at: run.requested_at,
        }
    }
}
