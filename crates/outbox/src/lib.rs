//! Events that leave in the order in which they occurred, and exactly those that were committed.

#[cfg_attr(not(test), expect(dead_code, reason = "the writer asks for it"))]
mod message;

pub use self::message::{CloudEvent, Event, JSON, Message, MessageId, NewMessage};
