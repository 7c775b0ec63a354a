//! Hearing of events: each takes effect once, in a unit of work of its tenant.

use std::sync::Arc;

#[cfg(feature = "servers")]
use tenantry::outbox::NatsSource;
use tenantry::outbox::{Consumer, ConsumerSettings, MessageHandler};
use tenantry::{Result, Storage};

use crate::broker::Broker;
use crate::setup::PartName;

/// How many messages are handled side by side. A handler that puts blobs holds a connection meanwhile: fewer at a time than
/// the pool has, or requests wait for messages.
const IN_FLIGHT: usize = 3;

/// Lets a part hear of events until its storage is closed; the broker alone is another one with servers.
pub(crate) async fn subscribe(
    part: PartName,
    broker: &Broker,
    storage: &Storage,
    handler: impl MessageHandler,
) -> Result<()> {
    let settings = ConsumerSettings::new(part.as_str()).with_in_flight(IN_FLIGHT);
    let (store, handler) = (storage.tenant_store(), Arc::new(handler));
    let consumer = match broker {
        Broker::Memory(broker) => Consumer::start_memory(store, broker, handler, settings)?,
        #[cfg(feature = "servers")]
        Broker::Nats(connection) => {
            let source = NatsSource::new((**connection).clone(), Broker::STREAM, Broker::DEAD);
            Consumer::start_nats(store, source, handler, settings).await?
        }
    };
    storage.keep_consumer(consumer)
}
