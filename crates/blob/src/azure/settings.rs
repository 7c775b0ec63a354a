//! Where the blobs are, how they are laid out, and how long is waited.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::Url;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};

use super::credential::AzureCredential;

const SET_UP: &str = "set up Azure blobs";
const NO_ACCOUNT: &str = "expected the URL of an account, with no more than scheme, host and path in \
                          it: a credential stands beside it";
/// A hyphenated UUID, and a hyphen before it.
const TENANT: usize = 37;
/// How long the name of a container or of an encryption scope may be.
const LONGEST: usize = 63;

/// How the blobs of tenants lie in an account.
///
/// # Examples
///
/// ```
/// use tenantry_blob::AzureLayout;
/// use tenantry_core::TenantId;
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// let layout = AzureLayout::container_per_tenant("reports")?;
/// assert_eq!(layout.container_of(tenant), "reports-0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a");
/// let layout = AzureLayout::prefix_per_tenant("reports")?;
/// assert_eq!(layout.container_of(tenant), "reports");
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureLayout(pub(super) Layout);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    ContainerPerTenant(String),
    PrefixPerTenant(String),
}

impl AzureLayout {
    /// Gives each tenant a container of its own, `<prefix>-<tenant>`: roles, encryption scopes, locks
    /// of containers and shared access signatures can be of one tenant then, by the service itself.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): expected 1 to 26 characters of `[a-z0-9]`, with
    ///   single hyphens between them.
    pub fn container_per_tenant(prefix: &str) -> Result<Self> {
        check_name(prefix, LONGEST - TENANT)?;
        Ok(Self(Layout::ContainerPerTenant(prefix.to_owned())))
    }

    /// Keeps the blobs of all tenants in one container, where their names begin with the tenant.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): expected 3 to 63 characters of `[a-z0-9]`, with
    ///   single hyphens between them.
    pub fn prefix_per_tenant(container: &str) -> Result<Self> {
        if container.len() < 3 {
            return Err(refused_name());
        }
        check_name(container, LONGEST)?;
        Ok(Self(Layout::PrefixPerTenant(container.to_owned())))
    }

    /// Returns where the rules of a life cycle find what is put so.
    #[cfg(feature = "lifecycle")]
    #[must_use]
    pub fn lifecycle(&self) -> crate::LifecycleLayout {
        use crate::LifecycleLayout;
        match &self.0 {
            Layout::ContainerPerTenant(prefix) => LifecycleLayout::container_per_tenant(prefix),
            Layout::PrefixPerTenant(container) => LifecycleLayout::prefix_per_tenant(container),
        }
    }

    /// Returns the name of the container in which a tenant's blobs are: the one place where such names
    /// are made.
    #[must_use]
    pub fn container_of(&self, tenant: TenantId) -> String {
        match &self.0 {
            Layout::ContainerPerTenant(prefix) => of_tenant(prefix, tenant),
            Layout::PrefixPerTenant(container) => container.clone(),
        }
    }
}

/// Where an [`AzureBlobs`](super::AzureBlobs) keeps blobs, who it is there, and how long it waits.
#[derive(Clone)]
pub struct AzureSettings {
    pub(super) url: String,
    pub(super) account: Option<String>,
    pub(super) layout: AzureLayout,
    pub(super) credential: AzureCredential,
    pub(super) scope: Option<Scope>,
    pub(super) creates_containers: bool,
    pub(super) takes_http: bool,
    pub(super) checks_ranges: bool,
    pub(super) authorities: Vec<String>,
    pub(super) try_timeout: Duration,
    pub(super) deadline: Duration,
    pub(super) soft_delete: Option<Duration>,
    pub(super) tags_classes: bool,
    pub(super) clock: SharedClock,
}

impl fmt::Debug for AzureSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever puts a credential into the URL is refused when it is opened, and may have shown it before.
        f.debug_struct("AzureSettings")
            .field("url", &shown(&self.url))
            .field("account", &self.account)
            .field("layout", &self.layout)
            .field("credential", &self.credential)
            .field("scope", &self.scope)
            .field("creates_containers", &self.creates_containers)
            .field("takes_http", &self.takes_http)
            .field("checks_ranges", &self.checks_ranges)
            .field("authorities", &self.authorities.len())
            .field("try_timeout", &self.try_timeout)
            .field("deadline", &self.deadline)
            .field("soft_delete", &self.soft_delete)
            .field("tags_classes", &self.tags_classes)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Scope {
    One(String),
    PerTenant(String),
}

impl Scope {
    pub(super) fn of(&self, tenant: TenantId) -> String {
        match self {
            Self::One(name) => name.clone(),
            Self::PerTenant(prefix) => of_tenant(prefix, tenant),
        }
    }
}

impl AzureSettings {
    /// Returns the settings of an account, such as `https://billing.blob.core.windows.net`.
    ///
    /// It is checked when the blobs are [opened](super::AzureBlobs::new).
    #[must_use]
    pub fn new(
        account_url: impl Into<String>,
        layout: AzureLayout,
        credential: AzureCredential,
    ) -> Self {
        Self {
            url: account_url.into(),
            account: None,
            layout,
            credential,
            scope: None,
            creates_containers: true,
            takes_http: false,
            checks_ranges: true,
            authorities: Vec::new(),
            try_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(120),
            soft_delete: None,
            tags_classes: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Says the name of the account where the URL does not: at a domain of one's own.
    #[must_use]
    pub fn with_account(mut self, name: impl Into<String>) -> Self {
        self.account = Some(name.into());
        self
    }

    /// Has all blobs encrypted by one encryption scope.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): expected 3 to 63 characters of `[a-z0-9]`, with
    ///   single hyphens between them.
    pub fn with_encryption_scope(mut self, name: &str) -> Result<Self> {
        if name.len() < 3 {
            return Err(refused_name());
        }
        check_name(name, LONGEST)?;
        self.scope = Some(Scope::One(name.to_owned()));
        Ok(self)
    }

    /// Has the blobs of each tenant encrypted by an encryption scope of its own, `<prefix>-<tenant>`:
    /// without its key nobody reads them any more. Whoever sets up a tenant makes its scope.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): expected 1 to 26 characters of `[a-z0-9]`, with
    ///   single hyphens between them.
    pub fn with_encryption_scope_per_tenant(mut self, prefix: &str) -> Result<Self> {
        check_name(prefix, LONGEST - TENANT)?;
        self.scope = Some(Scope::PerTenant(prefix.to_owned()));
        Ok(self)
    }

    /// Makes no container that is not there: whoever sets up a tenant does, and switches on what locks
    /// need.
    #[must_use]
    pub const fn without_creating_containers(mut self) -> Self {
        self.creates_containers = false;
        self
    }

    /// Takes a URL that begins with `http` though it does not lead to this machine: whoever is on the
    /// way reads and alters all of it.
    #[must_use]
    pub const fn with_plain_http(mut self) -> Self {
        self.takes_http = true;
        self
    }

    /// Does not ask for the checksum of each range that is read: Azurite refuses to be asked, unless it
    /// runs with `--loose`, where it tells none. Of every other service bytes without the checksum that
    /// was asked for are none. What is read as a whole is checked by its SHA-256 in any case.
    #[must_use]
    pub const fn without_range_checksums(mut self) -> Self {
        self.checks_ranges = false;
        self
    }

    /// Trusts another authority beside those of the system: that of a server for tests, or of a proxy
    /// that looks into TLS.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// Gives each try of a request so long, to the last byte of its answer; a minute if nothing is
    /// said. Requests carry 4 MiB, or more for blobs of 195 GiB and more.
    #[must_use]
    pub const fn with_try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// Puts with each blob the tags `tenantry_class` and `tenantry_kind`, by which the rules of a
    /// [life cycle](https://learn.microsoft.com/azure/storage/blobs/lifecycle-management-overview) find it.
    ///
    /// An identity needs the action `blobs/tags/write` for it, a signature the permission `t`; an account
    /// with a hierarchical namespace has no tags.
    #[must_use]
    pub const fn with_lifecycle_tags(mut self) -> Self {
        self.tags_classes = true;
        self
    }

    /// Says for how long the account keeps what was deleted, zero if it does not (soft delete).
    ///
    /// Without it the account is asked whenever a tenant is erased, for which an identity needs the action
    /// `Microsoft.Storage/storageAccounts/blobServices/read`.
    #[must_use]
    pub const fn with_soft_delete(mut self, keeps: Duration) -> Self {
        self.soft_delete = Some(keeps);
        self
    }

    /// Gives all tries of a request together so long, pauses included; two minutes if nothing is said.
    ///
    /// As long does a change wait for those of the same blob, in the same process, that came before it.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Judges retention by this clock; the locks of the service go by the service's own.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the URL and the name of the account.
    pub(super) fn endpoint(&self) -> Result<(Url, String)> {
        let url = Url::parse(&self.url).map_err(|_| invalid("the URL of the account is none"))?;
        let has_more =
            url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
        let (Some(host), false) = (host_of(&url), has_more || url.password().is_some()) else {
            return Err(invalid(NO_ACCOUNT));
        };
        // What is elsewhere than it belongs, such as a signature, would be told on with the URL.
        let is_plain = |text: &str| {
            text.bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"-_./".contains(&it))
        };
        if !is_plain(url.path()) {
            return Err(invalid(NO_ACCOUNT));
        }
        if url.scheme() != "https"
            && !(url.scheme() == "http" && (is_here(host) || self.takes_http))
        {
            return Err(invalid(
                "expected a URL that begins with https; http leads to this machine alone, unless the \
                 settings say otherwise",
            ));
        }
        // An account behind an address stands in the path, as that of an emulator does.
        let is_address = is_here(host) || host.parse::<std::net::IpAddr>().is_ok();
        let named = match is_address {
            true => url.path_segments().and_then(|mut parts| parts.next()),
            false => host.split('.').next(),
        };
        let account = self.account.as_deref().or(named).unwrap_or_default();
        if account.is_empty() {
            return Err(invalid("the URL does not name the account"));
        }
        let account = account.to_owned();
        Ok((url, account))
    }
}

/// Returns the host of a URL, if nothing else stands there.
fn host_of(url: &Url) -> Option<&str> {
    let is_of_host = |it: u8| it.is_ascii_alphanumeric() || b"-_.:[]".contains(&it);
    url.host_str().filter(|host| host.bytes().all(is_of_host))
}

/// Returns what may be shown of a URL, or of whatever was given in its place.
fn shown(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let host = parsed
        .as_ref()
        .and_then(|url| Some((url.scheme(), host_of(url)?)));
    match host {
        Some((scheme @ ("https" | "http"), host)) => format!("{scheme}://{host}"),
        _ => "no URL of an account".to_owned(),
    }
}

/// Returns whether a host is this machine.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, SET_UP).with_detail(detail)
}

/// The prefix has no text in common with the tenant: a hyphen and a UUID always end the name.
fn of_tenant(prefix: &str, tenant: TenantId) -> String {
    format!("{prefix}-{tenant}")
}

fn check_name(name: &str, longest: usize) -> Result<()> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    match name.len() <= longest && name.split('-').all(is_word) {
        true => Ok(()),
        false => Err(refused_name()),
    }
}

fn refused_name() -> Error {
    Error::new(ErrorKind::InvalidInput, SET_UP).with_detail(
        "expected the name of a container or scope, or what it begins with: [a-z0-9] with single \
         hyphens between, of 3 to 63 characters with the tenant",
    )
}

#[cfg(test)]
mod tests {
    use tenantry_core::Secret;

    use super::*;

    fn settings(url: &str) -> AzureSettings {
        let layout = AzureLayout::prefix_per_tenant("reports").unwrap();
        AzureSettings::new(
            url,
            layout,
            AzureCredential::shared_access_signature(Secret::new("x")),
        )
    }

    #[test]
    fn names_of_containers_are_those_that_azure_takes() {
        let tenant = "ffffffff-ffff-7fff-bfff-ffffffffffff".parse().unwrap();
        let longest = "x".repeat(26);
        let layout = AzureLayout::container_per_tenant(&longest).unwrap();
        assert_eq!(layout.container_of(tenant).len(), 63);
        #[cfg(feature = "lifecycle")]
        assert_eq!(
            layout.lifecycle().prefix(),
            layout.container_of(tenant)[..27]
        );
        for prefix in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a_b",
            "a.b",
            "ä",
            &"x".repeat(27),
        ] {
            assert!(
                AzureLayout::container_per_tenant(prefix).is_err(),
                "{prefix}"
            );
        }
        for container in ["", "ab", "$root", "a/b", &"x".repeat(64)] {
            assert!(
                AzureLayout::prefix_per_tenant(container).is_err(),
                "{container}"
            );
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for (url, account) in [
            ("https://billing.blob.core.windows.net", "billing"),
            ("https://billing.blob.core.windows.net/", "billing"),
            (
                "http://127.0.0.1:10000/devstoreaccount1",
                "devstoreaccount1",
            ),
            (
                "http://localhost:10000/devstoreaccount1",
                "devstoreaccount1",
            ),
            ("http://[::1]:10000/devstoreaccount1", "devstoreaccount1"),
            ("https://10.0.0.7/billing", "billing"),
        ] {
            assert_eq!(settings(url).endpoint().unwrap().1, account);
        }
        for url in [
            "",
            "billing",
            "http://billing.blob.core.windows.net",
            "http://127.0.0.1.example.com/x",
            "https://billing.blob.core.windows.net?sig=canary",
            "https://user:canary@billing.blob.core.windows.net",
            "ftp://127.0.0.1/x",
            "http://127.0.0.1:10000",
            "https://billing.blob.core.windows.net;sig=canary",
            "https://127.0.0.1/billing;sig=canary",
        ] {
            let error = settings(url).endpoint().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{url}");
            assert!(!format!("{error:?}").contains("canary"));
        }
        for url in [
            "https://a.blob.core.windows.net/?sv=1&sig=canary",
            "https://a.blob.core.windows.net/#sig=canary",
            "https://a:canary@a.blob.core.windows.net",
            "https:\\\\user:canary@a.blob.core.windows.net",
            "https://a.blob.core.windows.net/;sig=canary",
            "https://a.blob.core.windows.net;sig=canary",
            "https://a.blob.core.windows.net/&sig=canary",
            "https://a.blob.core.windows.net/%3Fsig=canary",
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=canary",
            "BlobEndpoint=https://a.blob.core.windows.net/;SharedAccessSignature=sig=canary",
            "sv=2024-11-04&sig=canary",
            "AccountKey:canary",
        ] {
            let shown = format!("{:?}", settings(url));
            assert!(!shown.contains("canary"), "{shown}");
            let error = settings(url).endpoint().unwrap_err();
            assert!(!format!("{error:?} {error}").contains("canary"), "{url}");
        }
        let shown = format!("{:?}", settings("https://billing.blob.core.windows.net"));
        assert!(shown.contains("billing.blob"), "{shown}");
        let inside = settings("http://storage.local/x").with_plain_http();
        assert_eq!(inside.endpoint().unwrap().1, "storage");
        let other = settings("https://blobs.example.com").with_account("billing");
        assert_eq!(other.endpoint().unwrap().1, "billing");
    }
}
