//! What Key Vault calls things, and what it refuses to call them.

use chrono::NaiveDate;

use super::refusal::Refusal;

/// The domain of every vault; a vault is one label below it.
pub(super) const DOMAIN: &str = "vault.azure.net";

/// Returns the vault that a `Host` header names, in lower case.
pub(super) fn vault_of(authority: &str) -> Option<String> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.to_ascii_lowercase();
    let vault = host.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    is_vault(vault).then(|| vault.to_owned())
}

/// Returns whether a vault may be called so: 3 to 24 letters, digits and hyphens, of which the
/// first is a letter, the last no hyphen, and no two hyphens stand together.
pub(super) fn is_vault(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !name.ends_with('-')
        && !name.contains("--")
        && is_word(name)
}

/// Checks the name of a secret: 1 to 127 letters, digits and hyphens.
pub(super) fn check_secret(name: &str) -> Result<(), Refusal> {
    if (1..=127).contains(&name.len()) && is_word(name) {
        Ok(())
    } else {
        Err(Refusal::bad_parameter(format!(
            "The request URI contains an invalid name: {name}"
        )))
    }
}

/// A version of the protocol, such as `7.4`, `7.6-preview.2` or `2025-07-01`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiVersion {
    text: String,
    /// Versions were numbers before they were dates.
    date: Option<NaiveDate>,
}

impl ApiVersion {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Err(Refusal::bad_parameter("api-version must be specified"));
        };
        let (number, preview) = match text.split_once("-preview") {
            Some((number, preview)) => (number, preview),
            None => (text, ""),
        };
        let date = NaiveDate::parse_from_str(number, "%Y-%m-%d").ok();
        let is_known = match date {
            // The first one; later ones are taken as they come.
            Some(date) => number.len() == 10 && preview.is_empty() && Some(date) >= day(2015, 6, 1),
            None => {
                let is_digit = |minor: &str| minor.len() == 1 && is_number(minor);
                number.strip_prefix("7.").is_some_and(is_digit)
                    && preview.strip_prefix('.').is_none_or(is_number)
                    && (preview.is_empty() || preview.starts_with('.'))
            }
        };
        if !is_known {
            return Err(Refusal::bad_parameter(format!(
                "The specified version ({text}) is not recognized. Consider using the latest \
                 supported version (2025-07-01)."
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            date,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether a bundle tells which version came before it.
    pub(super) fn has_previous_version(&self) -> bool {
        self.date.is_some() && self.date >= day(2025, 6, 1)
    }
}

fn day(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, month, day)
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_one_label_below_the_domain() {
        assert_eq!(
            vault_of("Orders.vault.azure.net").as_deref(),
            Some("orders")
        );
        assert_eq!(
            vault_of("a-b-1.vault.azure.net:8443").as_deref(),
            Some("a-b-1")
        );
        for authority in [
            "vault.azure.net",
            "ab.vault.azure.net",
            "1ab.vault.azure.net",
            "a--b.vault.azure.net",
            "a.b.vault.azure.net",
            "ordersvault.azure.net",
            "orders.vault.azure.net.evil.example",
            "127.0.0.1:8443",
        ] {
            assert_eq!(vault_of(authority), None, "{authority}");
        }
    }

    #[test]
    fn names_of_secrets_are_letters_digits_and_hyphens() {
        for name in ["a", "0", "-", "Db-Password-1", &"x".repeat(127)] {
            assert!(check_secret(name).is_ok(), "{name}");
        }
        for name in ["", "a_b", "a.b", "a b", "ä", &"x".repeat(128)] {
            assert!(check_secret(name).is_err(), "{name}");
        }
    }

    #[test]
    fn versions_of_the_protocol_are_numbers_or_dates() {
        for text in [
            "7.0",
            "7.4",
            "7.5",
            "7.6",
            "7.6-preview.2",
            "7.5-preview",
            "2016-10-01",
            "2025-06-01-preview",
            "2025-07-01",
            "2026-04-01",
        ] {
            assert!(ApiVersion::parse(Some(text)).is_ok(), "{text}");
        }
        for text in [
            "",
            "7",
            "7.",
            "7.44",
            "8.0",
            "7.4-beta",
            "7.6-preview2",
            "7.6-preview.",
            "2025-13-01",
            "2025-7-1",
            "2014-12-08",
            "latest",
        ] {
            assert!(ApiVersion::parse(Some(text)).is_err(), "{text}");
        }
        assert!(ApiVersion::parse(None).is_err());
    }

    #[test]
    fn the_previous_version_is_told_since_june_2025() {
        for (text, has) in [
            ("7.6", false),
            ("2016-10-01", false),
            ("2025-06-01-preview", true),
            ("2025-07-01", true),
        ] {
            let version = ApiVersion::parse(Some(text)).unwrap();
            assert_eq!(version.has_previous_version(), has, "{text}");
        }
    }
}
