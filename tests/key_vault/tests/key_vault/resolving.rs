//! The backend behind the cache.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::{join_all, try_join_all};
use tenantry_core::{
    Error, ErrorKind, Secret, SecretReference, SecretResolver as _, SecretSource as _,
};
use tenantry_secrets::{CachePolicy, Secrets};
use tenantry_testkit::key_vault::{Fault, Moment};

use crate::support::{Fixture, Result, noon};

struct Subject {
    fixture: Fixture,
    secrets: Secrets,
}

impl Subject {
    async fn start() -> Result<Self> {
        Self::start_with(CachePolicy::default()).await
    }

    async fn start_with(policy: CachePolicy) -> Result<Self> {
        let fixture = Fixture::start().await?;
        let secrets = Secrets::builder()
            .with_vault("orders", Arc::new(fixture.backend()?))?
            .with_clock(Arc::new(fixture.clock.clone()))
            .with_policy(policy)
            .build()?;
        Ok(Self { fixture, secrets })
    }

    async fn resolve(&self, reference: &str) -> Result<String, Error> {
        let secret = self.secrets.resolve(&reference.parse()?).await?;
        Ok(secret.expose().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_resolves_of_one_secret_make_one_call_and_one_challenge() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.set_secret("db", "one")?;
    let spellings = [
        "kv://orders/db",
        "kv://Orders/DB",
        "https://orders.vault.azure.net/secrets/Db",
    ];
    let resolves = (0..10_000).map(|index| {
        let secrets = subject.secrets.clone();
        let reference = spellings[index % spellings.len()].parse::<SecretReference>();
        tokio::spawn(async move { secrets.resolve(&reference?).await })
    });
    for resolved in try_join_all(resolves).await? {
        assert_eq!(resolved?.expose(), "one");
    }
    let calls = subject.fixture.server.calls();
    assert_eq!((calls.challenges, calls.without_challenges()), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_resolves_of_a_missing_secret_make_one_call() -> Result {
    let subject = Subject::start().await?;
    let reference: SecretReference = "kv://orders/db".parse()?;
    let resolves = (0..10_000).map(|_| subject.secrets.resolve(&reference));
    for resolved in join_all(resolves).await {
        assert_eq!(resolved.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(subject.fixture.server.calls().without_challenges(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn secrets_that_are_asked_for_at_once_at_the_start_make_a_call_each() -> Result {
    let subject = Subject::start().await?;
    let references = (0..50).map(|index| {
        let name = format!("secret-{index}");
        subject.fixture.vault.set_secret(&name, name.as_str())?;
        Ok(format!("kv://orders/{name}"))
    });
    let references = references.collect::<Result<Vec<_>>>()?;
    let resolves = references
        .iter()
        .map(|reference| subject.resolve(reference));
    for (reference, value) in references.iter().zip(try_join_all(resolves).await?) {
        assert_eq!(reference.strip_prefix("kv://orders/"), Some(value.as_str()));
    }
    let calls = subject.fixture.server.calls();
    assert_eq!(calls.without_challenges(), 50);
    assert!((1..=50).contains(&calls.challenges), "{calls:?}");
    Ok(())
}

#[tokio::test]
async fn what_may_not_be_used_is_refused_by_kind() -> Result {
    let subject = Subject::start().await?;
    let vault = &subject.fixture.vault;
    for name in ["past", "future", "off"] {
        vault.set_secret(name, "one")?;
    }
    vault.set_expiry("past", Some(noon() - TimeDelta::seconds(1)))?;
    vault.set_not_before("future", Some(noon() + TimeDelta::seconds(1)))?;
    vault.disable("off")?;
    for (reference, kind) in [
        ("kv://orders/past", ErrorKind::SecretExpired),
        ("kv://orders/future", ErrorKind::SecretNotYetValid),
        ("kv://orders/off", ErrorKind::SecretDisabled),
        ("kv://orders/none", ErrorKind::NotFound),
        ("kv://billing/db", ErrorKind::UnknownVault),
    ] {
        let error = subject.resolve(reference).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.detail().is_empty(), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_throttled_vault_is_left_alone_for_as_long_as_it_asks() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.set_secret("one", "1")?;
    subject.fixture.vault.set_secret("two", "2")?;
    let retry_after = Some(Duration::from_secs(20));
    subject
        .fixture
        .server
        .inject(Fault::Throttle { retry_after });
    for reference in ["kv://orders/one", "kv://orders/two", "kv://orders/one"] {
        let error = subject.resolve(reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
    }
    assert_eq!(subject.fixture.vault.calls().without_challenges(), 1);
    subject.fixture.server.lift_faults();
    subject.fixture.clock.advance(Duration::from_secs(21));
    assert_eq!(subject.resolve("kv://orders/two").await?, "2");
    Ok(())
}

#[tokio::test]
async fn the_deadline_bounds_all_tries() -> Result {
    let policy = CachePolicy::default().with_deadline(Duration::from_millis(300));
    let subject = Subject::start_with(policy).await?;
    subject.fixture.vault.set_secret("db", "one")?;
    let slow = Fault::Slow {
        delay: Duration::from_secs(3_600),
        moment: Moment::InBody,
    };
    for fault in [slow, Fault::Status(503)] {
        subject.fixture.server.inject(fault);
        subject.fixture.clock.advance(Duration::from_secs(60));
        let resolved = subject.resolve("kv://orders/db");
        let resolved = tokio::time::timeout(Duration::from_secs(4), resolved).await?;
        assert_eq!(resolved.unwrap_err().kind(), ErrorKind::Unavailable);
        subject.fixture.server.lift_faults();
    }
    subject.fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(subject.resolve("kv://orders/db").await?, "one");
    Ok(())
}

#[tokio::test]
async fn a_vault_that_goes_down_later_serves_what_is_known() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.set_secret("db", "one")?;
    assert_eq!(subject.resolve("kv://orders/db").await?, "one");
    subject.fixture.server.inject(Fault::Status(500));
    subject.fixture.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(subject.resolve("kv://orders/db").await?, "one");
    subject.fixture.clock.advance(Duration::from_secs(31 * 60));
    let error = subject.resolve("kv://orders/db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    Ok(())
}

#[tokio::test]
async fn a_new_version_is_followed() -> Result {
    let subject = Subject::start().await?;
    let reference: SecretReference = "kv://orders/db".parse()?;
    let put = async |value: &str| {
        let attributes = tenantry_secrets::SecretAttributes {
            expires_at: Some(noon() + TimeDelta::days(10)),
            ..Default::default()
        };
        subject.fixture.clock.advance(Duration::from_secs(1));
        let value = Secret::new(value);
        let stored = subject
            .secrets
            .put_new_version(&reference, value, attributes);
        stored.await
    };
    let first = put("one").await?;
    let watch = subject.secrets.watch(&reference).await?;
    let number = watch.generations().current.number();
    let second = put("two").await?;
    let changed = watch.changed_from(number).await;
    assert_eq!(changed.current.secret().expose(), "two");

    let day = Duration::from_secs(24 * 60 * 60);
    let expiring = subject.secrets.list_expiring("orders", 30 * day).await?;
    let references: Vec<_> = expiring.iter().map(|secret| &secret.reference).collect();
    assert_eq!(references, [&second]);
    assert!(
        subject
            .secrets
            .list_expiring("orders", day)
            .await?
            .is_empty()
    );

    subject.secrets.disable_version(&first).await?;
    let error = subject.secrets.resolve(&first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SecretDisabled);
    Ok(())
}
