//! Skyline: a flight-operations product of four services, over the flights of January 2013.
//!
//! | service | is asked for | its stores |
//! |---|---|---|
//! | Tenants | who the tenants are, and which are served | registry, outbox |
//! | Operations | flights and delays | flights, outbox, a cache |
//! | Notifications | what people are told | notifications, bodies and attachments in blobs |
//! | Reporting | reports as files | definitions and runs, files in blobs, outbox |
//!
//! Each opens its own stores by `Storage::for_service`, and nothing of another's: what one knows of another, it
//! has heard by events or asked for by HTTP. The edge stands before them, with sessions and limits.
//!
//! Read on in `skyline.rs` and `setup.rs` (how all of it is put together), `operations/` (a service with repositories, cache and
//! outbox), `subscriber.rs` and `notifications/` (one that hears), `reporting/` (leases, files, links), `edge/`.

mod broker;
mod browser;
mod caller;
mod desk;
mod directory;
mod edge;
mod events;
mod failure;
#[cfg(test)]
mod isolation;
mod keys;
mod notifications;
mod operations;
mod part;
mod problem;
mod reporting;
mod setup;
mod signature;
mod skyline;
mod status;
mod story;
mod subscriber;
mod tenants;

pub use self::broker::Broker;
pub use self::browser::{Browser, Page};
pub use self::desk::{Airline, Desk};
pub use self::directory::Slug;
pub use self::edge::Addresses;
pub use self::keys::Keys;
pub use self::setup::{Engine, PartName, Setup};
pub use self::skyline::{Running, Skyline};
pub use self::story::tell;

/// What goes wrong in setting up, in whatever crate.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
