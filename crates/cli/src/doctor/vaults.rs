//! The vaults, and the references that the settings hold: names and versions, and never a value.

use std::time::Duration;

use tenantry::Parts;
use tenantry::secrets::Secrets;
use tenantry_core::{
    Clock as _, ErrorKind, SecretLocation, SecretReference, SecretResolver as _, SystemClock,
};

use super::check::Sheet;

/// What ends sooner is told.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Looks whether a vault answers.
pub(super) async fn vault(sheet: &mut Sheet, secrets: &Secrets, name: &str) {
    if sheet
        .ask("connection", secrets.check_vault(name))
        .await
        .is_some()
    {
        sheet.ok("connection", "answers");
    }
}

/// Looks whether a reference leads to a secret that may be used.
pub(super) async fn secret(sheet: &mut Sheet, parts: &Parts, reference: &SecretReference) {
    // What is wrong with the vaults is told of them.
    let Ok(Some(secrets)) = parts.vaults() else {
        return;
    };
    let resolved = async { secrets.resolve(reference).await.map(drop) };
    if sheet.ask("resolves", resolved).await.is_none() {
        return;
    }
    sheet.ok("resolves", reference.to_string());
    let SecretLocation::KeyVault { vault, name, .. } = reference.location() else {
        return;
    };
    match sheet.answer(secrets.list_expiring(vault, SOON)).await {
        Ok(expiring) => {
            let of_secret = expiring.iter().find(|it| {
                matches!(it.reference.location(), SecretLocation::KeyVault { name: other, .. } if other == name)
            });
            if let Some(soon) = of_secret {
                let days = (soon.expires_at - SystemClock.now()).num_days();
                sheet.warning(
                    "expiry",
                    format!("{reference} ends in {days} days"),
                    "rotate it: store a new version; `tenantry secrets expiring` lists all",
                );
            }
        }
        // To read a secret takes less than to list them.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => sheet.failed("expiry", &error),
    }
}
