//! The URLs of a settings file: what they lead to, and no password.

use std::path::PathBuf;

use tenantry_core::SecretReference;
use tenantry_store::{Error, Result};

use super::file::Section;
use super::without_feature;

/// A URL of a section, of which nothing is told that could be a password.
pub(super) struct Url {
    /// In lower case.
    pub(super) scheme: String,
    /// As it was written.
    pub(super) text: String,
}

/// Who may stand in a URL before the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UserInUrl {
    Allowed,
    /// What stands there alone is a token.
    Refused,
}

impl Section {
    /// Takes the URL, of which the password stands elsewhere.
    pub(super) fn url(&mut self) -> Result<Url> {
        let text = self.needed("url")?;
        let scheme = text
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let scheme = scheme.ok_or_else(|| self.refuse("url", "expected a URL with a scheme"))?;
        Ok(Url { scheme, text })
    }

    /// Refuses a password in a URL.
    pub(super) fn refuse_password(&self, url: &Url, user: UserInUrl) -> Result<()> {
        let rest = url.text.split_once("://").map_or("", |(_, rest)| rest);
        // Up to the last one: an `@` in a password is often not escaped.
        let info = rest.rsplit_once('@').map(|(info, _)| info);
        let in_front = info.is_some_and(|info| user == UserInUrl::Refused || info.contains(':'));
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let in_query = query.split('&').any(|pair| {
            let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
            matches!(name, "password" | "pass" | "auth_token" | "sig")
        });
        match in_front || in_query {
            true => Err(self.refuse(
                "url",
                "a password does not stand in it: write `password = \"kv://…\"` beside it, where the \
                 secret is",
            )),
            false => Ok(()),
        }
    }

    /// Takes where a password or a key is.
    pub(super) fn password(&mut self, key: &'static str) -> Result<Option<SecretReference>> {
        let reference = self.reference(key)?;
        #[cfg(not(feature = "secrets"))]
        if reference.is_some() {
            return Err(without_feature(&self.path_of(key), "secrets"));
        }
        Ok(reference)
    }

    /// Returns the path of `file:<path>` and the like.
    pub(super) fn path_of_url(&self, url: &Url) -> Result<PathBuf> {
        let (_, path) = url.text.split_once(':').unwrap_or_default();
        // Two more begin a host, of which there is none.
        let path = path.strip_prefix("//").unwrap_or(path);
        match path {
            "" => Err(self.refuse("url", "expected a path behind the colon")),
            path => Ok(path.into()),
        }
    }

    /// Tells an error as one of the URL.
    pub(super) fn of_url(&self, error: Error) -> Error {
        error.with_subject(self.path_of("url"))
    }

    /// Says which feature the section asks for.
    #[allow(dead_code, reason = "with all features on, nothing is missing")]
    pub(super) fn without_feature(&self, feature: &str) -> Error {
        without_feature(&self.path_of("url"), feature)
    }

    /// Says which schemes there are.
    pub(super) fn unknown_scheme(&self, known: &str) -> Error {
        self.refuse("url", format!("expected a URL that begins with {known}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_found_however_they_are_written() {
        let is_refused = |url: &str, user| {
            let mut file = Section::read(&format!("url = '{url}'"), []).unwrap();
            let url = file.url().unwrap();
            let refused = file.refuse_password(&url, user);
            if let Err(error) = &refused {
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            }
            refused.is_err()
        };
        for url in [
            "postgres://app:hunter2@db/app",
            "postgres://app:hun@ter/2@db/app",
            "postgres://app:@db/app",
            "postgres://app@db/app?password=hunter2",
            "redis://:hunter2@cache:6380/0",
            "amqps://app:hunter2@rabbit/vhost",
            "https://a.blob.core.windows.net/?sv=1&sig=hunter2",
        ] {
            assert!(is_refused(url, UserInUrl::Allowed), "{url}");
        }
        assert!(is_refused("nats://hunter2@nats:4222", UserInUrl::Refused));
        for url in [
            "postgres://app@db:5432/app?sslmode=verify-full",
            "redis://cache:6380/0",
            "sqlite:/var/lib/a@b:c.db",
            "memory:",
        ] {
            assert!(!is_refused(url, UserInUrl::Allowed), "{url}");
        }
    }
}
