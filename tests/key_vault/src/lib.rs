//! The Key Vault of the test kit, held to what Azure publishes: the specification of the protocol,
//! and the official client; and the backend of `tenantry-secrets`, held to that Key Vault. All of it
//! is in `tests/`.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/key-vault-server.md")]
mod page {}
