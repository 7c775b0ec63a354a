//! Whether everything is there that a consumer needs, and as it should be.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use tenantry_core::Result;

use super::{Graves, NatsSource, invalid};
use crate::Routes;
use crate::connection::NatsLink;
use crate::consumer::ConsumerSettings;

/// After what time without a word the server delivers a message again.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Finds the consumer on the server or makes it, if it is as it should be, and there is a place for dead letters that
/// keeps them.
pub(super) async fn look(
    link: &NatsLink,
    source: &NatsSource,
    (routes, graves): (&Routes, &Graves),
    settings: &ConsumerSettings,
) -> Result<PullConsumer> {
    let mut context = jetstream::new(link.client.clone());
    context.set_timeout(source.connection.timeout());
    let name = &source.stream;
    let stream = context.get_stream(name).await.map_err(|error| {
        let told = format!("the stream {name} is not there: make it, with its subjects");
        invalid(told).with_source(error)
    })?;
    let name = &settings.name;
    if let Some(wrong) = graves.wrong(link).await? {
        return Err(invalid(wrong));
    }
    let config = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: match source.one_at_a_time {
            true => 1,
            false => i64::try_from(settings.prefetch().max(1_000)).unwrap_or(i64::MAX),
        },
        filter_subject: format!("{}.*.{}", routes.prefix(), source.types),
        ..pull::Config::default()
    };
    let consumer: PullConsumer =
        stream
            .get_or_create_consumer(name, config)
            .await
            .map_err(|error| {
                invalid(format!(
                    "the consumer {name} cannot be made or is none that pulls"
                ))
                .with_source(error)
            })?;
    let found = &consumer.cached_info().config;
    if found.ack_policy != AckPolicy::Explicit || found.max_deliver > 0 {
        return Err(invalid(format!(
            "the consumer {name} loses messages: acknowledge explicitly, and set no most of deliveries"
        )));
    }
    if source.one_at_a_time && found.max_ack_pending != 1 {
        return Err(invalid(format!(
            "the consumer {name} gives out {} messages at a time: set its max_ack_pending to 1, or make it anew",
            found.max_ack_pending
        )));
    }
    Ok(consumer)
}
