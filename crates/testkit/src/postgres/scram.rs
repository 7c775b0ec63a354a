//! Password verifiers that cost next to nothing to check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Returns what PostgreSQL stores for the password, with one iteration of hashing.
///
/// A verifier made by the server asks 4,096 iterations of every client at every connection, which
/// is some 40 ms in a build without optimisation. Wrong passwords are refused just the same.
pub(super) fn verifier(password: &str) -> String {
    let salt = Uuid::new_v4().into_bytes();
    let first_block = [salt.as_slice(), &[0, 0, 0, 1]].concat();
    let salted = hmac(password.as_bytes(), &first_block);
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    let [salt, stored_key, server_key] =
        [&salt, stored_key.as_slice(), &server_key].map(|bytes: &[u8]| STANDARD.encode(bytes));
    format!("SCRAM-SHA-256$1:{salt}${stored_key}:{server_key}")
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes a key of any length");
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
