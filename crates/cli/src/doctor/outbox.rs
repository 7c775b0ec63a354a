//! The role for work across tenants, and how the outbox is doing.

use chrono::{DateTime, TimeDelta, Utc};
use tenantry::{DatabaseSettings, Parts};
use tenantry_core::{Clock as _, SystemClock};
use tenantry_outbox::OutboxStatus;
use tenantry_store::postgres::Role;

use super::Plan;
use super::check::Sheet;
use crate::database::Limits;
use crate::service;

/// A message that waits longer has nobody who hands it over, or too few.
const UNSENT: TimeDelta = TimeDelta::minutes(5);
/// Rows of what has left are removed after two hours at the latest.
const KEPT: TimeDelta = TimeDelta::hours(3);

/// Looks at the role, and by it at the outbox.
pub(super) async fn look(sheet: &mut Sheet, parts: &Parts, limits: Limits, plan: &Plan) {
    let Some(database) = parts.platform() else {
        if plan.has_broker {
            sheet.warning(
                "role",
                "the settings name a broker and no role that hands over: another process has to",
                "add a section [platform] with the url of the platform role, or start a worker elsewhere",
            );
        }
        return;
    };
    let database = match database {
        Ok(database) => database,
        Err(error) => return sheet.failed("connection", &error),
    };
    let before = sheet.checks.len();
    let tables = match &database {
        DatabaseSettings::Postgres(settings) => {
            super::postgres::look(sheet, settings.clone(), Role::Platform, plan).await;
            let probe = tenantry_store::postgres::probe(settings.clone());
            sheet.answer(probe).await.map(|it| it.tables)
        }
        #[cfg(feature = "sqlite")]
        DatabaseSettings::Sqlite(settings) => {
            super::sqlite::look(sheet, settings, false, plan).await;
            let probe = tenantry_store::sqlite::probe(settings);
            sheet.answer(probe).await.map(|it| it.tables)
        }
        _ => return,
    };
    let has_failed = sheet.checks[before..]
        .iter()
        .any(|it| it.status == super::check::Status::Failure);
    let has_outbox = tables.is_ok_and(|tables| tables.iter().any(|it| it == "outbox_messages"));
    // What stands in the way was told.
    if has_failed || !has_outbox {
        return;
    }
    let status = async {
        let platform = service::connect("check outbox", database, limits).await?;
        let status = OutboxStatus::read(&platform).await;
        platform.close().await;
        status
    };
    if let Some(status) = sheet.ask("outbox", status).await {
        told(sheet, &status, SystemClock.now());
    }
}

fn told(sheet: &mut Sheet, status: &OutboxStatus, now: DateTime<Utc>) {
    let waiting = status.backlog + status.waiting;
    let before = sheet.checks.len();
    if status.workers == 0 && waiting > 0 {
        sheet.failure(
            "outbox",
            format!("{waiting} messages wait, and no worker is alive"),
            "start the process that hands over (Storage::start_worker), and see its log",
        );
    }
    if status.blocked > 0 {
        sheet.failure(
            "outbox",
            format!(
                "{} messages were given up and block their keys",
                status.blocked
            ),
            "see `tenantry outbox dead --grouped`, then `tenantry outbox replay` or `discard`",
        );
    }
    if status.dead > 0 {
        sheet.warning(
            "outbox",
            format!("{} messages were given up and passed by", status.dead),
            "see `tenantry outbox dead --grouped`, then `tenantry outbox replay` or `discard`",
        );
    }
    if let Some(age) = late(status.oldest_unsent, now, UNSENT)
        && status.workers > 0
    {
        sheet.warning(
            "outbox",
            format!(
                "the oldest message has waited {} minutes",
                age.num_minutes()
            ),
            "see whether the broker takes messages, then start more workers",
        );
    }
    if let Some(age) = late(status.oldest_kept, now, KEPT) {
        sheet.warning(
            "outbox",
            format!("rows of {} hours ago stand in the log", age.num_hours()),
            "a tenant has a backlog since then: see `tenantry outbox status`",
        );
    }
    if sheet.checks.len() == before {
        let workers = status.workers;
        sheet.ok(
            "outbox",
            format!("{waiting} messages wait, {workers} workers are alive"),
        );
    }
}

fn late(since: Option<DateTime<Utc>>, now: DateTime<Utc>, limit: TimeDelta) -> Option<TimeDelta> {
    since.map(|since| now - since).filter(|age| *age > limit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::check::Status;
    use crate::progress::Progress;

    fn told_of(status: &OutboxStatus) -> Vec<(Status, String)> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let progress = Progress::start(0, true);
        let mut sheet = Sheet::of("platform", Duration::from_secs(1), &progress);
        told(&mut sheet, status, now);
        let checks = sheet.checks.into_iter();
        checks.map(|it| (it.status, it.found)).collect()
    }

    #[test]
    fn what_stands_still_is_a_failure_and_what_is_late_a_warning() {
        let at = |seconds: i64| DateTime::from_timestamp(1_000_000 - seconds, 0);
        let mut status = OutboxStatus::default();
        status.backlog = 7;
        status.oldest_unsent = at(600);
        assert_eq!(
            told_of(&status),
            [(
                Status::Failure,
                "7 messages wait, and no worker is alive".to_owned()
            )]
        );
        status.workers = 1;
        assert_eq!(
            told_of(&status),
            [(
                Status::Warning,
                "the oldest message has waited 10 minutes".to_owned()
            )]
        );
        status.oldest_unsent = at(60);
        status.oldest_kept = at(7_000);
        assert_eq!(
            told_of(&status),
            [(
                Status::Ok,
                "7 messages wait, 1 workers are alive".to_owned()
            )]
        );
        status.oldest_kept = at(4 * 3_600);
        status.blocked = 2;
        status.dead = 3;
        let all: Vec<_> = told_of(&status).into_iter().map(|(it, _)| it).collect();
        assert_eq!(all, [Status::Failure, Status::Warning, Status::Warning]);
    }
}
