//! Hearing of what other processes have invalidated, and knowing that nothing was missed.
//!
//! All messages come over one connection, in the order in which the server sends them. A node sends
//! itself a heartbeat by way of the server: when it is heard, whatever was invalidated before it was
//! sent has been heard as well. Values in this process are used for no longer than a second after the
//! last heartbeat that came back was sent.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tenantry_core::{Result, TenantId};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::connection::{ANOTHER_EPOCH, Connections, identity_of};
use super::keys::Keys;
use super::observe::Operation;
use super::outage::Outage;
use crate::shared::{Invalidation, Listener};

const BEAT_SENT: Operation = Operation::new("heartbeat", "send heartbeat");

/// How often a node sends itself a heartbeat.
const BEAT: Duration = Duration::from_millis(250);
/// Of how many heartbeats one asks the server who it is; an odd number, so that each connection is asked.
const ASKED: u64 = 5;
/// For how long values are used after a heartbeat was sent that has come back.
const SURE: Duration = Duration::from_secs(1);
/// How long a link that does not bring heartbeats back is given.
const SILENCE: Duration = Duration::from_secs(2);
/// How long to wait before a link is opened again.
const PAUSE: Duration = Duration::from_millis(200);

/// Of how many tenants it is known which number the last invalidation had.
const MOST_NUMBERS: usize = 100_000;

/// How many digits the number of an invalidation has.
const DIGITS: usize = 16;
/// How many bytes a node's identity, and a tenant's, has.
const ID: usize = 16;

/// Listens for as long as it is there.
pub(super) struct Channel {
    link: Arc<Link>,
    task: AbortHandle,
}

struct Link {
    connections: Arc<Connections>,
    keys: Keys,
    node: Uuid,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

/// Heartbeats that have been sent and not come back, with the time by each listener's clock.
type Sent = Vec<(u64, Vec<(Weak<dyn Listener>, Duration)>)>;

impl Channel {
    pub(super) fn open(connections: Arc<Connections>, keys: Keys) -> Self {
        let link = Arc::new(Link {
            connections,
            keys,
            node: Uuid::new_v4(),
            listeners: Mutex::default(),
        });
        let listening = Arc::clone(&link);
        let task = tokio::spawn(async move {
            let outage = Outage::default();
            loop {
                if let Err(error) = listening.hear(&outage).await {
                    outage.goes_on(&error, "the link that tells of invalidations");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self {
            link,
            task: task.abort_handle(),
        }
    }

    pub(super) fn add(&self, listener: Weak<dyn Listener>) {
        self.link.listeners.lock().push(listener);
    }

    /// Returns the message that tells what is over.
    pub(super) fn message(&self, tenant: TenantId, what: &[Invalidation]) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(self.link.node.as_bytes());
        message.extend(tenant.as_uuid().as_bytes());
        for what in what {
            let (tag, texts): (u8, &[&str]) = match what {
                Invalidation::Key { kind, key } => (b'k', &[kind, key]),
                Invalidation::Tag(tag) => (b't', &[tag]),
                Invalidation::Tenant => (b'a', &[]),
            };
            message.push(tag);
            for text in texts {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                message.extend(length.to_be_bytes());
                message.extend(text.as_bytes());
            }
        }
        message
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a message tells.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    number: u64,
    node: Uuid,
    tenant: TenantId,
    what: Vec<Invalidation>,
}

impl Heard {
    fn parse(message: &[u8]) -> Option<Self> {
        let (number, rest) = message.split_at_checked(DIGITS)?;
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let (node, rest) = rest.split_first_chunk::<ID>()?;
        let (tenant, mut rest) = rest.split_first_chunk::<ID>()?;
        let tenant = TenantId::new(Uuid::from_bytes(*tenant)).ok()?;
        let mut what = Vec::new();
        while let Some((tag, after)) = rest.split_first() {
            rest = after;
            let mut text = || -> Option<Arc<str>> {
                let (length, after) = rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (text, after) = after.split_at_checked(length)?;
                rest = after;
                std::str::from_utf8(text).ok().map(Arc::from)
            };
            what.push(match tag {
                b'k' => Invalidation::Key {
                    kind: text()?,
                    key: text()?,
                },
                b't' => Invalidation::Tag(text()?),
                b'a' => Invalidation::Tenant,
                _ => return None,
            });
        }
        Some(Self {
            number,
            node: Uuid::from_bytes(*node),
            tenant,
            what,
        })
    }
}

impl Link {
    /// Hears what the server sends, until the link is down.
    async fn hear(&self, outage: &Outage) -> Result<()> {
        let (invalidations, heartbeat) = (
            self.keys.invalidations(),
            self.keys.heartbeat(&self.node.simple().to_string()),
        );
        let channels = [&*invalidations, &*heartbeat];
        // Before it shows what is current now.
        let mut renewed = self.connections.renewed();
        let link = self.connections.listen(&channels).await?;
        outage.is_over();
        let mut messages = link.into_on_message();
        // Whatever was said between the last link and this one.
        self.each(|listener| listener.missed_some());
        let mut numbers = HashMap::new();
        let (mut sent, mut next): (Sent, u64) = (Vec::new(), 0);
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard_at = tokio::time::Instant::now();
        loop {
            tokio::select! {
                // In the order in which they come, before another heartbeat is sent.
                biased;
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if message.get_channel_name() == heartbeat {
                        heard_at = tokio::time::Instant::now();
                        self.beat_came_back(&mut sent, message.get_payload_bytes());
                    } else {
                        self.heard(&mut numbers, message.get_payload_bytes());
                    }
                }
                Ok(()) = renewed.changed() => return Ok(()),
                _ = beats.tick() => {
                    if heard_at.elapsed() > SILENCE {
                        return Ok(());
                    }
                    next += 1;
                    self.send_beat(&mut sent, next, &heartbeat).await;
                }
            }
        }
    }

    fn heard(&self, numbers: &mut HashMap<TenantId, u64>, message: &[u8]) {
        if message == ANOTHER_EPOCH {
            self.each(|listener| listener.missed_some());
            return;
        }
        let Some(heard) = Heard::parse(message) else {
            tracing::error!(
                target: "tenantry::cache",
                "a message of invalidations is not understood: who else writes to this channel?"
            );
            // Whatever it was about.
            self.each(|listener| listener.missed_some());
            return;
        };
        if numbers.len() >= MOST_NUMBERS {
            numbers.clear();
        }
        let last = numbers.insert(heard.tenant, heard.number);
        if last.is_some_and(|last| last + 1 != heard.number) {
            self.each(|listener| listener.missed(heard.tenant));
        }
        // What this node has told itself it has done already.
        if heard.node != self.node {
            self.each(|listener| listener.heard(heard.tenant, &heard.what));
        }
    }

    async fn send_beat(&self, sent: &mut Sent, number: u64, channel: &str) {
        let mut times = Vec::new();
        self.each_weak(|weak, listener| times.push((Weak::clone(weak), listener.now())));
        // Before it is sent: it tells of what was before that.
        sent.push((number, times));
        let channel = channel.to_owned();
        let connections = Arc::clone(&self.connections);
        // Messages are heard meanwhile.
        tokio::spawn(async move {
            let call = |mut to: super::Connected| async move {
                let is_same = !number.is_multiple_of(ASKED)
                    || identity_of(&mut to.connection)
                        .await
                        .is_ok_and(|identity| *identity == *to.identity);
                redis::cmd("PUBLISH")
                    .arg(channel)
                    .arg(number.to_string())
                    .query_async::<()>(&mut to.connection)
                    .await
                    .map(|()| is_same)
            };
            if let Ok(false) = connections.call(BEAT_SENT, None, call).await {
                // It has become a replica, or the primary of others.
                connections.forget_all();
            }
        });
    }

    fn beat_came_back(&self, sent: &mut Sent, number: &[u8]) {
        let number: Option<u64> = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok());
        let Some(place) = sent.iter().position(|(it, _)| Some(*it) == number) else {
            return;
        };
        for (listener, time) in &sent[place].1 {
            if let Some(listener) = listener.upgrade() {
                listener.is_sure_until(time.saturating_add(SURE));
            }
        }
        sent.drain(..=place);
    }

    fn each(&self, tell: impl Fn(&dyn Listener)) {
        self.each_weak(|_, listener| tell(listener));
    }

    fn each_weak(&self, mut tell: impl FnMut(&Weak<dyn Listener>, &dyn Listener)) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        for weak in &*listeners {
            if let Some(listener) = weak.upgrade() {
                tell(weak, &*listener);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::login::{Login, Password};
    use super::*;
    use crate::telemetry::Calls;
    use tenantry_core::TenantLabel;

    #[test]
    fn what_is_told_is_heard_and_what_is_cut_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let info = redis::IntoConnectionInfo::into_connection_info("redis://localhost").unwrap();
        let login = Login::new(info, Password::OfUrl);
        let connections = Connections::new(
            login,
            1,
            SURE,
            &Keys::new("svc"),
            Calls::new(TenantLabel::none()),
        )
        .unwrap();
        let channel = Channel::open(Arc::new(connections), Keys::new("svc"));
        let tenant = TenantId::generate();
        let what = [
            Invalidation::Key {
                kind: "name".into(),
                key: "".into(),
            },
            Invalidation::Tag("größe:1".into()),
            Invalidation::Tenant,
        ];
        let mut message = b"0000000000000042".to_vec();
        message.extend(channel.message(tenant, &what));
        let heard = Heard::parse(&message).unwrap();
        assert_eq!(
            (heard.number, heard.node, heard.tenant, &*heard.what),
            (42, channel.link.node, tenant, &what[..])
        );
        let shortest = DIGITS + 2 * ID;
        for length in 0..message.len() {
            let cut = Heard::parse(&message[..length]);
            let is_whole = cut.is_none_or(|cut| length >= shortest && what.starts_with(&cut.what));
            assert!(is_whole, "{length}");
        }
        message.push(b'x');
        assert_eq!(Heard::parse(&message), None);
    }
}
