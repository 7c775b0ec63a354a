//! What was handed over and cannot be saved.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Executor as _};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Answer, Broker, quick, until};
use tenantry_outbox::{NewMessage, Outbox, OutboxStatus, OutboxWorker, PublishErrorKind};

use crate::OnPostgres;

/// What was written to the log of this test.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The role of the workers has lost a right that parking takes: somebody hears of it, and others go on. In one thread,
/// whose log it is.
#[tokio::test]
async fn what_cannot_be_saved_is_told_and_holds_up_no_other() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let broker = Broker::default();
    let [bad, good] = [TenantId::generate(), TenantId::generate()];
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    broker.answer(move |message| {
        (message.tenant() == bad).then(|| {
            counted.fetch_add(1, Ordering::Relaxed);
            Answer::No(PublishErrorKind::Poison)
        })
    });
    let append = async |tenant: TenantId| {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("suite.a", "k");
        outbox.append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    };
    let mut admin = subject.admin().await;
    let role = subject.platform_login.user();
    let revoke = format!("revoke insert on outbox_parked from {role}");
    admin.execute(AssertSqlSafe(revoke)).await.unwrap();
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, quick()).unwrap();
    append(bad).await;
    until("it was tried", || tries.load(Ordering::Relaxed) > 0).await;
    append(good).await;
    until("the other's has left", || broker.count() > 0).await;
    let log = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(
        log.contains("WARN tenantry::outbox: what was handed over cannot be saved"),
        "{log}"
    );

    let grant = format!("grant insert on outbox_parked to {role}");
    admin.execute(AssertSqlSafe(grant)).await.unwrap();
    let is_so = |status: &OutboxStatus| status.blocked == 1;
    subject.becomes("it is not given up", is_so).await;
    worker.stop().await.unwrap();
}
