//! URLs by which whoever has one reads one blob.

use std::time::Duration;

use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::KeyInfo;
use azure_storage_common::models::UserDelegationKey;
use azure_storage_sas::{SasBuilder, SasProtocol};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tenantry_core::{Clock as _, Error, ErrorKind, Result, Secret, SystemClock};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::Inner;
use super::credential::Source;
use super::document::time;
use super::retry::after;
use crate::backend::SignedUrl;
use crate::name::BlobName;
use crate::store::about;

const SIGN: &str = "sign URL of blob";
/// How long a key is asked for by which URLs are signed, and how long before its end the next is.
const KEY: TimeDelta = TimeDelta::hours(6);
const RENEWAL: TimeDelta = TimeDelta::hours(2);

/// The key by which this identity signs URLs, until it ends.
#[derive(Default)]
pub(super) struct DelegationKeys(Mutex<Option<UserDelegationKey>>);

pub(super) async fn signed_url(
    inner: &Inner,
    name: &BlobName,
    valid_for: Duration,
) -> Result<SignedUrl> {
    // By the clock of the machine, for the service goes by its own.
    let now = SystemClock.now();
    let valid_for = TimeDelta::from_std(valid_for).unwrap_or(TimeDelta::minutes(1));
    let until = now
        .checked_add_signed(valid_for)
        .unwrap_or(now)
        .trunc_subsecs(0);
    let (container, blob) = inner.settings.layout.place(name);
    let url = inner.client.url();
    let is_https = url.scheme() == "https";
    let query = match (&inner.settings.credential.0, &inner.key) {
        (Source::SharedKey(_), Some(key)) => {
            let protocol = if is_https { "https" } else { "https,http" };
            key.signature_to_read((&container, blob), until, protocol)
        }
        (Source::Entra(_) | Source::Identity(_), _) => {
            let key = delegation_key(inner, name, now).await?;
            let end = OffsetDateTime::from_unix_timestamp(until.timestamp());
            let unsigned = |_| {
                about(Error::new(ErrorKind::Unexpected, SIGN), name)
                    .with_detail("the key that the service gave cannot be used")
            };
            let end = end.map_err(|_| unsigned(()))?;
            SasBuilder::new(inner.account.clone(), &key, end)
                .map_err(|_| unsigned(()))?
                .protocol(SasProtocol::Https)
                .blob(container.clone(), blob)
                .read()
                .build()
        }
        _ => {
            return Err(about(Error::new(ErrorKind::Unsupported, SIGN), name).with_detail(
                "a shared access signature signs no other: use Entra ID or a key of the account",
            ));
        }
    };
    let base = url.as_str().trim_end_matches('/');
    Ok(SignedUrl {
        url: Secret::new(format!("{base}/{container}/{blob}?{query}")),
        expires_at: until,
    })
}

/// Returns a key by which this identity signs, asked for by one caller for all.
async fn delegation_key(
    inner: &Inner,
    name: &BlobName,
    now: DateTime<Utc>,
) -> Result<UserDelegationKey> {
    let turn = timeout_at(after(inner.settings.deadline), inner.delegation.0.lock());
    let mut kept = turn.await.map_err(|_| {
        about(Error::new(ErrorKind::Unavailable, SIGN), name)
            .with_detail("other calls ask for the key that signs it, and take too long: try again")
    })?;
    let end = |key: &UserDelegationKey| key.signed_expiry.and_then(time);
    if let Some(key) = kept.as_ref()
        && end(key).is_some_and(|end| end > now + RENEWAL)
    {
        return Ok(key.clone());
    }
    let at = |time: DateTime<Utc>| OffsetDateTime::from_unix_timestamp(time.timestamp()).ok();
    let info = KeyInfo {
        // The clocks of machines differ.
        start: at(now - TimeDelta::minutes(5)),
        expiry: at(now + KEY),
        ..KeyInfo::default()
    };
    let refused = |error: azure_core::Error| inner.refused(SIGN, name, &error);
    let asked = info.try_into().map_err(refused)?;
    let answer = inner.client.get_user_delegation_key(asked, None).await;
    let key = answer.and_then(|it| it.into_model()).map_err(refused)?;
    *kept = Some(key.clone());
    Ok(key)
}
