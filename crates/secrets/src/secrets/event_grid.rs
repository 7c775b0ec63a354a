//! What Azure Event Grid tells of Key Vault.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenantry_core::{Error, ErrorKind, Result, SecretReference};

use super::Secrets;

const ACCEPT: &str = "accept event";

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// How many secrets that are known here are read again.
    pub secrets: usize,
    /// What Event Grid wants to be answered, as `{"validationResponse": "…"}`, before it sends
    /// events: somebody has made a subscription
    /// (<https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema>).
    pub validation_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Many(Vec<Event>),
    One(Event),
}

/// In the schema of Event Grid or of CloudEvents.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "eventType", alias = "type")]
    kind: String,
    #[serde(default)]
    data: BTreeMap<String, serde_json::Value>,
}

impl Event {
    fn text(&self, field: &str) -> Option<&str> {
        self.data.get(field)?.as_str()
    }
}

impl Secrets {
    /// Takes an event of Event Grid, such as `Microsoft.KeyVault.SecretNewVersionCreated`, and has the
    /// secret read again if it is known here: without a wait, and not more than once a second.
    ///
    /// The body is one event or several, in the schema of Event Grid or of CloudEvents
    /// (<https://learn.microsoft.com/azure/event-grid/event-schema-key-vault>). Who may send one is
    /// for the caller to check; the worst that a false one can do is to make the vault be read. Other
    /// kinds of events, and other vaults, are left alone.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the body is no event.
    /// - [`Unsupported`](ErrorKind::Unsupported): it is called outside a runtime of Tokio.
    pub fn accept_event(&self, body: &[u8]) -> Result<AcceptedEvent> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Unsupported, ACCEPT)
                .with_detail("call it inside a runtime of Tokio, which reads the vault"));
        }
        let body: Body = serde_json::from_slice(body).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, ACCEPT)
                .with_detail("expected one event of Event Grid or CloudEvents as JSON, or a list")
        })?;
        let events = match body {
            Body::Many(events) => events,
            Body::One(event) => vec![event],
        };
        let mut accepted = AcceptedEvent {
            secrets: 0,
            validation_code: None,
        };
        for event in events {
            match &*event.kind {
                "Microsoft.KeyVault.SecretNewVersionCreated"
                | "Microsoft.KeyVault.SecretExpired" => {
                    let named = event.text("VaultName").zip(event.text("ObjectName"));
                    let reference = named.and_then(|(vault, name)| {
                        format!("kv://{vault}/{name}")
                            .parse::<SecretReference>()
                            .ok()
                    });
                    if let Some(reference) = reference
                        && self.inner.read_soon(&reference)
                    {
                        accepted.secrets += 1;
                    }
                }
                "Microsoft.EventGrid.SubscriptionValidationEvent" => {
                    accepted.validation_code = event.text("validationCode").map(str::to_owned);
                }
                _ => {}
            }
        }
        Ok(accepted)
    }
}
