//! `tenantry secrets`: what of the secrets of a service ends soon.

use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde_json::json;
use tenantry::Parts;
use tenantry::secrets::{ExpiringSecret, Secrets};
use tenantry_core::{Clock as _, Error, ErrorKind, Result, SecretLocation, SystemClock};

use crate::Verdict;
use crate::blobs::{unwritten, written_json};
use crate::output::{columns, counted};
use crate::service::SettingsFile;

const EXPIRING: &str = "list expiring secrets";

/// Tells of the secrets of a service: names, versions and ends, and never a value.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the secrets in the vaults of the settings that have ended, or end soon, the soonest first
    ///
    /// Secrets in files and variables have no end that is known. Without --settings the variables of the
    /// environment say where the vaults are. Exits with 1 if there is any, and with 2 if a vault could not be
    /// looked at.
    Expiring {
        #[command(flatten)]
        settings: SettingsFile,
        /// How soon: 30d, 12h, 45m or 90s
        #[arg(long, default_value = "30d", value_parser = span)]
        within: Duration,
        /// How long each vault may take
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
        timeout: u64,
        /// Writes one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Lists them.
///
/// # Errors
///
/// Those of the settings and of a vault; `InvalidSettings` if the settings name no vault; `Unavailable` if nobody
/// takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let Command::Expiring {
        settings,
        within,
        timeout,
        json,
    } = &options.command;
    let settings = settings.read()?;
    let limit = Duration::from_secs(*timeout);
    let parts = Parts::of(&settings, limit).await;
    let secrets = match parts.vaults() {
        Ok(secrets) => secrets,
        Err(error) => {
            return Err(Error::new(error.kind(), EXPIRING)
                .with_subject(error.subject().to_owned())
                .with_detail(error.detail().to_owned()));
        }
    };
    let Some(secrets) = secrets.filter(|it| !it.vault_names().is_empty()) else {
        return Err(Error::new(ErrorKind::InvalidSettings, EXPIRING)
            .with_subject("vaults")
            .with_detail("the settings name no vault whose secrets have an end: add [[vaults]]"));
    };
    let vaults = secrets.vault_names();
    let asked = vaults
        .iter()
        .map(|vault| of_vault(secrets, vault, *within, limit));
    let mut expiring = Vec::new();
    for found in join_all(asked).await {
        expiring.extend(found?);
    }
    expiring.sort_by_key(|it| it.expires_at);
    let now = SystemClock.now();
    let written = match json {
        true => {
            let secrets: Vec<_> = expiring.iter().map(|it| shown(it, now)).collect();
            written_json(out, &json!({ "vaults": vaults, "expiring": secrets }))
        }
        false => {
            let rows = expiring.iter().map(|it| {
                let (_, name, version) = located(it);
                [
                    at(it.expires_at),
                    left(it.expires_at, now),
                    name.to_owned(),
                    version.to_owned(),
                ]
            });
            columns(rows, out).and_then(|()| {
                writeln!(
                    out,
                    "{} in {}",
                    counted(expiring.len(), "secret"),
                    counted(vaults.len(), "vault")
                )
            })
        }
    };
    written.map_err(unwritten)?;
    Ok(Verdict::of(!expiring.is_empty()))
}

async fn of_vault(
    secrets: &Secrets,
    vault: &str,
    within: Duration,
    limit: Duration,
) -> Result<Vec<ExpiringSecret>> {
    let listed = tokio::time::timeout(limit, secrets.list_expiring(vault, within)).await;
    listed.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, EXPIRING)
            .with_subject(format!("vault {vault}"))
            .with_detail(format!("no answer within {limit:?}")))
    })
}

/// Returns the vault, the name as a reference has it, and the version.
fn located(it: &ExpiringSecret) -> (&str, String, &str) {
    match it.reference.location() {
        SecretLocation::KeyVault {
            vault,
            name,
            version,
        } => (
            vault,
            format!("kv://{vault}/{name}"),
            version.unwrap_or_default(),
        ),
        _ => ("", it.reference.to_string(), ""),
    }
}

fn shown(it: &ExpiringSecret, now: DateTime<Utc>) -> serde_json::Value {
    let (vault, reference, version) = located(it);
    json!({
        "vault": vault,
        "secret": reference,
        "version": version,
        "expires_at": at(it.expires_at),
        "days_left": days(it.expires_at, now),
        "has_expired": it.expires_at <= now,
    })
}

fn at(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns whole days: none on the last, and below zero those that have passed since.
fn days(end: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    (end - now).num_days()
}

fn left(end: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match days(end, now) {
        _ if end <= now => "expired".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// Reads `30d`, `12h`, `45m` or `90s`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 30d, 12h, 45m or 90s".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 24 * 60 * 60,
        'h' => 60 * 60,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    // `parse` takes a sign as well.
    if !number.bytes().all(|it| it.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_unit() {
        assert_eq!(span("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        for wrong in [
            "",
            "d",
            "30",
            "+3d",
            "-3d",
            "3.5d",
            "30w",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_day_has_none_left_and_the_next_is_over() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let end = at(10 * 86_400);
        assert_eq!(left(end, at(9 * 86_400 + 1)), "0 days");
        assert_eq!(left(end, at(9 * 86_400)), "1 day");
        assert_eq!(left(end, end), "expired");
        assert_eq!(left(end, at(10 * 86_400 + 1)), "expired");
    }
}
