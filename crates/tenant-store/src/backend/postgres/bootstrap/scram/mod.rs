//! Password verifiers, computed here so that no password is in a statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// As many as PostgreSQL itself uses.
const ITERATIONS: u32 = 4096;

/// Returns what PostgreSQL stores for a password (RFC 5803), with a salt of its own.
///
/// `None` for an empty password, and for one beyond printable ASCII: such a one would have to be
/// normalised (SASLprep), and client and server would have to agree on how.
pub(super) fn verifier(password: &str) -> Option<String> {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if password.is_empty() || !password.bytes().all(printable) {
        return None;
    }
    Some(salted_verifier(password, &rand::random::<[u8; 16]>()))
}

fn salted_verifier(password: &str, salt: &[u8]) -> String {
    let salted = salted_password(password.as_bytes(), salt);
    let stored_key = Sha256::digest(authenticate(&salted, b"Client Key"));
    let server_key = authenticate(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key),
    )
}

/// PBKDF2 with HMAC-SHA-256, of which one block is as long as the key.
fn salted_password(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut block = authenticate(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = block;
    for _ in 1..ITERATIONS {
        block = authenticate(password, &block);
        for (sum, byte) in sum.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    sum
}

fn authenticate(key: &[u8], message: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes a key of any length");
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_agrees_with_the_example_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = salted_verifier("pencil", &salt);
        // The keys that the messages of the RFC's example follow from.
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
             :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn two_verifiers_of_one_password_differ() {
        assert_ne!(verifier("pencil"), verifier("pencil"));
    }

    #[test]
    fn what_would_need_normalising_is_refused() {
        for password in ["", "päss", "tab\there", "nul\0"] {
            assert_eq!(verifier(password), None, "{password:?}");
        }
    }
}
