//! What an error tells, and what mends it.

use std::error::Error as _;

use tenantry_core::{Error, ErrorKind};

/// Returns what was found and what mends it.
pub(super) fn of(part: &str, error: &Error) -> (String, String) {
    let text = error.to_string();
    // The store tells of a fault and its fix in one line.
    if let Some((found, fix)) = text.split_once(" (fix: ") {
        let fix = fix.strip_suffix(')').unwrap_or(fix);
        return (found.to_owned(), fix.to_owned());
    }
    let mut found = text;
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !found.contains(&told) {
            found.push_str(", because ");
            found.push_str(&told);
        }
        cause = error.source();
    }
    (found, fix(part, error))
}

fn fix(part: &str, error: &Error) -> String {
    let section = part.split(' ').next().unwrap_or(part);
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::PoolExhausted => format!(
            "start it if it is down, or correct {section}.url; then see whether a firewall lets this machine through"
        ),
        ErrorKind::AuthenticationFailed => format!(
            "correct the user of [{section}], or store the password that is set there where {section}.password leads to"
        ),
        ErrorKind::TlsFailed if cfg!(not(feature = "postgres-tls")) && is_database(section) => {
            "build this command with --features postgres-tls: it cannot encrypt".to_owned()
        }
        ErrorKind::TlsFailed => format!(
            "let {section}.url name the server as its certificate does, and trust who has signed it"
        ),
        ErrorKind::SchemaMismatch if is_database(section) => {
            "run the bootstrap of this version as administrator (tenantry_store::postgres::Bootstrap), then \
             `tenantry migrate` as the owner role"
                .to_owned()
        }
        ErrorKind::UnsafeRole => {
            format!("connect as a role that the bootstrap was given: correct {section}.url")
        }
        ErrorKind::UnknownVault => "add [[vaults]] with this name to the settings".to_owned(),
        ErrorKind::NotFound | ErrorKind::SecretDeleted if is_secret(section) => {
            format!("store the secret, or correct the reference {}", key(part))
        }
        ErrorKind::SecretExpired | ErrorKind::SecretDisabled | ErrorKind::SecretNotYetValid => {
            "store a new version of the secret that holds now".to_owned()
        }
        ErrorKind::PermissionDenied => format!(
            "give the identity of this process the right to it, or correct [{section}]"
        ),
        ErrorKind::Throttled => "wait: it is called too often".to_owned(),
        ErrorKind::Corrupt => "put a copy back from before the damage".to_owned(),
        _ => format!("correct [{section}] in the settings, as it says"),
    }
}

fn is_database(section: &str) -> bool {
    matches!(section, "database" | "platform")
}

fn is_secret(section: &str) -> bool {
    matches!(section, "secret" | "vault")
}

/// Returns the key that a secret stands under.
fn key(part: &str) -> &str {
    part.split_once(' ').map_or(part, |(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_that_the_store_tells_is_told_as_such() {
        let error = Error::new(ErrorKind::UnsafeRole, "audit database")
            .with_detail("role postgres is a superuser (fix: connect as tenantry_app)");
        let (found, fix) = of("database", &error);
        assert_eq!(fix, "connect as tenantry_app");
        assert!(found.ends_with("role postgres is a superuser"), "{found}");
    }

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::new(ErrorKind::Unavailable, "connect").with_source(cause);
        let (found, fix) = of("cache", &error);
        assert!(found.ends_with(", because connection refused"), "{found}");
        assert!(fix.contains("cache.url"), "{fix}");
    }
}
