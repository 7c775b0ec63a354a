//! No token is in an error, in what caused it, in `Debug` or in a log.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_blob::{ManagementCredential, ScopeName};
use tenantry_core::Secret;
use tenantry_testkit::arm::ArmFault;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Fixture, Result, order};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_token_is_shown_nowhere() -> Result {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;

    let fixture = Fixture::start().await?;
    let canary = fixture.token().to_owned();
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    let mut shown = format!("{:?}", fixture.management);
    for fault in [
        ArmFault::Status(503),
        ArmFault::Status(418),
        ArmFault::CutBefore,
        ArmFault::CutAfter,
        ArmFault::Garbage,
        ArmFault::Throttle {
            retry_after: Some(60),
        },
    ] {
        fixture.server.inject(fault, 1);
        let error = fixture
            .management
            .scope_shred(&scope, &order())
            .await
            .unwrap_err();
        shown.push_str(&format!("{error} {error:?}"));
        let mut cause = error.source();
        while let Some(next) = cause {
            shown.push_str(&format!("{next} {next:?}"));
            cause = next.source();
        }
    }
    let wrong = fixture.with_token("canary-7f3a-yellow")?;
    let error = wrong.container(&fixture.one).await.unwrap_err();
    shown.push_str(&format!("{error} {error:?} {wrong:?}"));
    let secret = || Secret::new("canary-7f3a-yellow".to_owned());
    let credential = ManagementCredential::client_secret("directory", "client", secret());
    shown.push_str(&format!(
        "{credential:?} {:?}",
        ManagementCredential::access_token(secret())
    ));

    let log = String::from_utf8(log.0.lock().clone())?;
    assert!(log.contains("scope_shredded"), "acts are told");
    for text in [&shown, &log] {
        assert!(
            !text.contains(&canary) && !text.contains("canary-7f3a"),
            "{text}"
        );
    }
    Ok(())
}
