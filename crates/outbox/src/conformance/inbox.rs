use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeZone as _, Utc};
use tenantry_core::{ErrorKind, ManualClock, SharedClock};
use uuid::{NoContext, Timestamp, Uuid};

use super::{Subject, two_tenants};
use crate::{Inbox, MessageId};

/// Neither another consumer nor another tenant is in its way.
pub async fn a_message_is_handled_once_for_each_consumer_and_tenant(subject: &dyn Subject) {
    let inbox = Inbox::new(subject.store());
    let message = MessageId::generate();
    for tenant in two_tenants(subject) {
        for consumer in ["mail", "ledger"] {
            let work = tenant.begin().await.unwrap();
            assert!(inbox.once(&work, message, consumer).await.unwrap());
            assert!(!inbox.once(&work, message, consumer).await.unwrap());
            work.commit().await.unwrap();
            let again = tenant.begin().await.unwrap();
            assert!(!inbox.once(&again, message, consumer).await.unwrap());
            again.commit().await.unwrap();
        }
    }
}

/// A mark goes with the unit of work.
pub async fn a_message_that_was_handled_by_nobody_in_the_end_is_handled_again(
    subject: &dyn Subject,
) {
    let inbox = Inbox::new(subject.store());
    let message = MessageId::generate();
    for tenant in two_tenants(subject) {
        let work = tenant.begin().await.unwrap();
        assert!(inbox.once(&work, message, "mail").await.unwrap());
        work.rollback().await.unwrap();
        let work = tenant.begin().await.unwrap();
        assert!(inbox.once(&work, message, "mail").await.unwrap());
        drop(work);
        let work = tenant.begin().await.unwrap();
        let savepoint = work.savepoint().await.unwrap();
        assert!(inbox.once(&work, message, "mail").await.unwrap());
        work.rollback_to(&savepoint).await.unwrap();
        assert!(inbox.once(&work, message, "mail").await.unwrap());
        work.commit().await.unwrap();
    }
}

/// Whoever comes second waits, and knows then.
pub async fn one_of_two_consumers_that_race_is_the_first(subject: &dyn Subject) {
    let inbox = Inbox::new(subject.store());
    for tenant in two_tenants(subject) {
        for _ in 0..20 {
            let message = MessageId::generate();
            let mut racers = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (inbox, tenant) = (inbox.clone(), tenant.clone());
                racers.spawn(async move {
                    let work = tenant.begin().await.unwrap();
                    let is_first = inbox.once(&work, message, "mail").await.unwrap();
                    tokio::task::yield_now().await;
                    work.commit().await.unwrap();
                    is_first
                });
            }
            let firsts = racers
                .join_all()
                .await
                .into_iter()
                .filter(|is_first| *is_first);
            assert_eq!(firsts.count(), 1);
        }
    }
}

/// Identifiers without a time, those of too long ago, and those from the future.
pub async fn what_the_inbox_cannot_tell_it_refuses(subject: &dyn Subject) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let now = Utc.with_ymd_and_hms(2027, 3, 14, 15, 0, 0).unwrap();
    let clock = Arc::new(ManualClock::new(now));
    let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
    let inbox = Inbox::new(subject.store()).with_clock(shared);
    let appended = |days: i64| {
        let seconds = u64::try_from(now.timestamp() - days * 24 * 60 * 60).unwrap();
        MessageId::new(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)))
    };
    for tenant in two_tenants(subject) {
        let work = tenant.begin().await.unwrap();
        for refused in [MessageId::new(Uuid::new_v4()), appended(13), appended(-2)] {
            let error = inbox.once(&work, refused, "mail").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let long = "c".repeat(201);
        for consumer in ["", "a\n", &long] {
            let error = inbox.once(&work, appended(0), consumer).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        for days in [0, 1, 12] {
            let message = appended(days);
            assert!(inbox.once(&work, message, "mail").await.unwrap());
            assert!(!inbox.once(&work, message, "mail").await.unwrap());
        }
        work.commit().await.unwrap();
    }
    // What was handled is known for as long as is said.
    let message = appended(0);
    for tenant in two_tenants(subject) {
        let work = tenant.begin().await.unwrap();
        assert!(inbox.once(&work, message, "mail").await.unwrap());
        work.commit().await.unwrap();
        for _ in 0..12 {
            clock.advance(DAY);
            let work = tenant.begin().await.unwrap();
            assert!(!inbox.once(&work, message, "mail").await.unwrap());
            work.commit().await.unwrap();
        }
        clock.set(now);
    }
}

/// What is remembered stays.
pub async fn the_inbox_forgets_what_is_over(subject: &dyn Subject) {
    const DAY: u64 = 24 * 60 * 60;
    let (now, tenants) = (Utc::now(), two_tenants(subject));
    let handled = async |days: u64| {
        let appended = now - Duration::from_secs(days * DAY);
        let clock: SharedClock = Arc::new(ManualClock::new(appended));
        let inbox = Inbox::new(subject.store()).with_clock(clock);
        let milliseconds = u64::try_from(appended.timestamp_millis()).unwrap();
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &[7; 10]).into_uuid();
        let mut firsts = 0;
        for tenant in &tenants {
            let work = tenant.begin().await.unwrap();
            let message = MessageId::new(id);
            firsts += usize::from(inbox.once(&work, message, "mail").await.unwrap());
            work.commit().await.unwrap();
        }
        firsts
    };
    for days in [0, 12, 14] {
        assert_eq!(handled(days).await, 2);
    }
    Inbox::prune(subject.platform()).await.unwrap();
    // The day may have ended meanwhile, and with it that of 12 days ago is over as well, but not gone.
    assert_eq!([handled(0).await, handled(12).await], [0, 0]);
    assert_eq!(handled(14).await, 2);
}
