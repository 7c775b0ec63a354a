//! The Key Vault of the test kit as its clients see it, and one of these clients: the backend.

mod support;

mod faults;
mod official_client;
mod operations;
mod specification;
mod tls;

mod backend;
mod conformance;
mod refusals;
mod resolving;
