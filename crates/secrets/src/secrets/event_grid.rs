//! What Azure Event Grid tells of Key Vault.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_core::{Error, ErrorKind, Result, SecretReference};

use super::{Secrets, in_runtime};

const ACCEPT: &str = "accept event";

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedEvent {
    /// How many secrets that are known here are read again.
    pub secrets: usize,
    /// What Event Grid wants to be answered, as `{"validationResponse": "…"}`, before it sends
    /// events: somebody has made a subscription
    /// (<https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema>).
    pub validation_code: Option<String>,
}

/// In the schema of Event Grid or of CloudEvents.
struct Event<'e>(&'e Value);

impl<'e> Event<'e> {
    fn kind(&self) -> Option<&'e str> {
        let kind = self.0.get("eventType").or_else(|| self.0.get("type"));
        kind?.as_str()
    }

    fn text(&self, field: &str) -> Option<&'e str> {
        self.0.get("data")?.get(field)?.as_str()
    }
}

impl Secrets {
    /// Takes an event of Event Grid, such as `Microsoft.KeyVault.SecretNewVersionCreated`, and has the
    /// secret read again if it is known here: without a wait, and not more than once a second.
    ///
    /// The body is one event or several, in the schema of Event Grid or of CloudEvents
    /// (<https://learn.microsoft.com/azure/event-grid/event-schema-key-vault>). Who may send one is
    /// for the caller to check; the worst that a false one can do is to make the vault be read. What
    /// is no such event, in a list, and other vaults are left alone. A vault is known by the name it
    /// was added by, and by [`Vault::service_name`](crate::Vault::service_name).
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the body is no event.
    /// - [`Unsupported`](ErrorKind::Unsupported): it is called outside a runtime of Tokio.
    pub fn accept_event(&self, body: &[u8]) -> Result<AcceptedEvent> {
        in_runtime(ACCEPT)?;
        let no_event = || {
            Error::new(ErrorKind::InvalidInput, ACCEPT)
                .with_detail("expected one event of Event Grid or CloudEvents as JSON, or a list")
        };
        let body: Value = serde_json::from_slice(body).map_err(|_| no_event())?;
        let events = match &body {
            Value::Array(events) => &**events,
            one if Event(one).kind().is_some() => std::slice::from_ref(one),
            _ => return Err(no_event()),
        };
        let mut known = BTreeSet::new();
        let mut validation_code = None;
        for event in events.iter().map(Event) {
            match event.kind().unwrap_or_default() {
                "Microsoft.KeyVault.SecretNewVersionCreated"
                | "Microsoft.KeyVault.SecretExpired" => {
                    let named = event.text("VaultName").zip(event.text("ObjectName"));
                    let Some((vault, name)) = named else { continue };
                    for vault in self.inner.vaults_called(vault) {
                        let Ok(reference) =
                            format!("kv://{vault}/{name}").parse::<SecretReference>()
                        else {
                            continue;
                        };
                        if self.inner.read_soon(&reference) {
                            known.insert(reference.in_lower_case().into_owned());
                        }
                    }
                }
                "Microsoft.EventGrid.SubscriptionValidationEvent" => {
                    validation_code = event.text("validationCode").map(str::to_owned);
                }
                _ => {}
            }
        }
        Ok(AcceptedEvent {
            secrets: known.len(),
            validation_code,
        })
    }
}
