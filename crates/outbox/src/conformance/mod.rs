//! What an outbox must do on every database, as functions to call.
//!
//! Each function is one behaviour, with two tenants, on a database of its own whose tables are those of
//! [`SUITE_POSTGRES`] or [`SUITE_SQLITE`] beside those of the outbox. What leaves is compared with a
//! [`Ledger`] of what was committed. [`conformance_suite!`](crate::conformance_suite) makes a test of each.
//!
//! The names in here may change in any release.

mod broker;
mod consumers;
mod failures;
mod fairness;
mod idle;
mod inbox;
mod ledger;
mod letters;
mod publisher;
mod workers;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::TenantId;
use tenantry_store::{PlatformStore, TenantScope, TenantStore};

pub use broker::*;
pub use consumers::*;
pub use failures::*;
pub use fairness::*;
pub use idle::*;
pub use inbox::*;
pub use ledger::*;
pub use letters::*;
pub use publisher::*;
pub use workers::*;
pub use writer::*;

use crate::{FailurePolicy, OutboxWorker, WorkerSettings};

/// The table of the suite on PostgreSQL.
pub const SUITE_POSTGRES: &str = "create table outbox_suite_accounts (
    tenant_id uuid not null, id uuid not null, version bigint not null, primary key (tenant_id, id)
);
select tenantry.protect('outbox_suite_accounts');";

/// The same on SQLite.
pub const SUITE_SQLITE: &str = "create table outbox_suite_accounts (
    tenant_id blob not null, id blob not null, version integer not null, primary key (tenant_id, id)
) strict;";

/// A database of a test's own.
pub trait Subject: Send + Sync {
    /// Returns the store of the services.
    fn store(&self) -> &TenantStore;

    /// Returns the store of the workers.
    fn platform(&self) -> &PlatformStore;
}

/// Returns two tenants that nobody has used yet.
fn two_tenants(subject: &dyn Subject) -> [TenantScope; 2] {
    [TenantId::generate(), TenantId::generate()].map(|tenant| subject.store().tenant(tenant))
}

/// Returns settings under which a test need not wait for long.
#[must_use]
pub fn quick() -> WorkerSettings {
    let waits = (Duration::from_millis(10), Duration::from_millis(50));
    WorkerSettings::default()
        .with_polls(Duration::from_millis(2), Duration::from_millis(20))
        .with_lease(Duration::from_secs(2))
        .with_failure_policy(FailurePolicy::default().with_waits(waits.0, waits.1))
}

fn start(subject: &dyn Subject, broker: &Broker, settings: WorkerSettings) -> OutboxWorker {
    OutboxWorker::start(subject.platform(), Arc::new(broker.clone()), settings).unwrap()
}

/// Waits until something is so, for a minute at most.
///
/// # Panics
///
/// If it never comes to be so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be so: {what}");
}

/// Makes one test of every behaviour; `$open` is an async function that returns a
/// [`Subject`](crate::conformance::Subject), kept alive during the test.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite! {
            @tests $open;
            what_was_committed_leaves_as_it_was_written,
            what_was_not_committed_never_leaves,
            an_id_is_taken_once_in_its_tenant,
            many_messages_are_written_by_one_commit,
            messages_go_along_with_the_last_write_or_not_at_all,
            each_key_leaves_in_the_order_of_its_commits,
            large_messages_are_read_a_few_at_a_time,
            workers_share_the_keys_and_give_them_back,
            a_worker_that_comes_has_its_part_of_what_is_being_read,
            a_worker_that_dies_is_taken_over,
            a_name_is_of_one_living_worker,
            what_was_saved_is_not_handed_over_again,
            a_backlog_of_one_tenant_holds_up_no_other,
            one_behind_a_flood_waits_for_a_small_part_of_it,
            backlogs_are_handed_over_by_weight,
            an_idle_worker_holds_nothing_and_wakes,
            an_idle_worker_sees_what_is_replayed,
            a_refused_message_holds_up_its_key_alone,
            poison_blocks_its_key_or_is_passed_by,
            an_outage_is_no_failure_of_a_message,
            a_broker_that_does_not_answer_is_asked_again,
            a_key_that_is_alone_and_not_answered_lets_others_pass,
            a_key_that_is_not_answered_holds_up_itself_alone,
            keys_aside_leave_to_a_broker_that_needs_longer_than_patience,
            a_long_backlog_of_a_key_leaves_to_a_slow_broker,
            many_refused_keys_hold_up_no_other_tenant,
            keys_that_are_refused_again_and_again_hold_up_no_other_tenant,
            a_publisher_that_panics_has_refused,
            a_message_with_the_id_of_a_parked_one_is_not_lost,
            dead_letters_are_listed_replayed_and_discarded,
            a_message_is_handled_once_for_each_consumer_and_tenant,
            a_message_that_was_handled_by_nobody_in_the_end_is_handled_again,
            one_of_two_consumers_that_race_is_the_first,
            what_the_inbox_cannot_tell_it_refuses,
            the_inbox_forgets_what_is_over,
            a_message_has_its_effect_before_it_leaves,
            what_a_consumer_fails_at_the_outbox_tries_again,
            poison_to_a_consumer_is_a_dead_letter_of_the_outbox,
            a_handler_that_hangs_uses_attempts_up,
            a_consumer_that_is_not_there_is_waited_for,
            one_consumer_keeps_a_message_from_no_other,
            a_consumer_takes_the_place_that_is_kept_for_it,
        }
    };
    (@tests $open:path; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $open().await;
                $crate::conformance::$case(&subject).await;
            }
        )*
    };
}

/// Makes one test of every behaviour of a publisher; `$open` is an async function that returns a
/// [`RealBroker`](crate::conformance::RealBroker), kept alive during the test.
#[macro_export]
macro_rules! publisher_suite {
    ($open:path) => {
        $crate::publisher_suite! {
            @tests $open;
            what_is_published_is_there_as_it_was,
            many_keys_are_published_at_a_time_each_in_order,
            what_is_too_large_is_poison_and_nothing_else_is,
            what_is_published_again_is_told_apart_where_the_broker_can,
            a_broker_that_is_halted_is_unavailable_and_comes_back,
            a_broker_that_is_down_is_unavailable_and_comes_back,
            a_check_tells_whether_the_broker_would_take_messages,
        }
    };
    (@tests $open:path; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let broker = $open().await;
                $crate::conformance::$case(&broker).await;
            }
        )*
    };
}
