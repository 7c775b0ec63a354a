//! The Key Vault of the test kit as its clients see it.

mod support;

mod faults;
mod official_client;
mod operations;
mod specification;
mod tls;
