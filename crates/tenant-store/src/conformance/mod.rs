//! What every repository must do, as functions to call: the contract in a form that runs.
//!
//! Each function is one behaviour. It makes tenants of its own, so that all of them can share a
//! database whose tables are those of [`SQLITE_SCHEMA`] or [`POSTGRES_SCHEMA`].
//! [`conformance_suite!`](crate::conformance_suite) makes a test of each.
//!
//! The names in here may change in any release.

mod bulk;
mod concurrency;
mod crud;
mod cursor;
mod filter;
mod isolation;
mod purge;
mod specimen;
mod unit_of_work;
mod values;

use std::sync::Arc;

use tenantry_core::TenantId;

use crate::repository::Repository;
use crate::scope::TenantScope;
use crate::store::TenantStore;

pub use bulk::*;
pub use concurrency::*;
pub use crud::*;
pub use cursor::*;
pub use filter::*;
pub use isolation::*;
pub use purge::*;
pub use specimen::*;
pub use unit_of_work::*;
pub use values::*;

/// A way to the repositories under test: a store by itself, or with wrappers around it.
pub trait Subject: Send + Sync {
    /// Returns the store.
    fn store(&self) -> &TenantStore;

    /// Returns the repository of specimens in a scope.
    fn specimens(&self, scope: &TenantScope) -> Arc<dyn Repository<Specimen>>;
}

impl Subject for TenantStore {
    fn store(&self) -> &TenantStore {
        self
    }

    fn specimens(&self, scope: &TenantScope) -> Arc<dyn Repository<Specimen>> {
        Arc::new(scope.repository())
    }
}

/// Returns a tenant that nobody has used yet, with its repository.
fn new_tenant(subject: &dyn Subject) -> (TenantScope, Arc<dyn Repository<Specimen>>) {
    let scope = subject.store().tenant(TenantId::generate());
    let specimens = subject.specimens(&scope);
    (scope, specimens)
}

/// Makes one test of every behaviour; `$open` is an async function that returns a
/// [`Subject`](crate::conformance::Subject), kept alive during the test.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite! {
            @tests $open;
            inserted_is_found_at_version_one,
            missing_is_none_and_not_found,
            update_raises_the_version,
            stale_update_conflicts,
            update_of_a_missing_row_is_not_found,
            delete_removes_the_version_that_was_read,
            delete_by_id_needs_no_version,
            identifier_is_taken_once,
            one_identifier_serves_two_tenants,
            upsert_inserts_then_overwrites,
            upsert_of_what_was_read_is_an_update,
            get_many_answers_what_is_there,
            exists_and_count_see_the_tenant,
            aggregate_without_version_is_overwritten,
            identifiers_of_every_type_serve,
            soft_delete_hides_and_restore_brings_back,
            purge_removes_marked_rows_for_good,
            purge_takes_the_first_marked_first,
            purge_keeps_to_its_tenant_and_tells_listeners,
            audit_columns_are_stamped_from_the_context,
            insert_many_stores_all,
            insert_many_stores_all_or_none,
            insert_many_that_is_refused_stores_nothing,
            update_where_changes_up_to_the_limit,
            update_where_refuses_what_the_store_keeps,
            sum_that_overflows_is_refused,
            delete_where_removes_up_to_the_limit,
            bulk_limits_are_checked,
            filters_agree_with_rust,
            filter_size_is_checked,
            sorts_agree_with_rust,
            pages_lead_forward_and_back,
            ten_thousand_rows_of_one_time_are_paged,
            emptied_page_leads_back,
            cursor_is_refused_elsewhere,
            page_limit_is_checked,
            stream_yields_every_row_in_order,
            every_value_comes_back,
            values_out_of_range_are_refused,
            rows_that_do_not_fit_are_refused,
            every_operation_keeps_to_its_tenant,
            foreign_and_missing_answer_alike,
            unit_of_work_stands_or_falls_together,
            dropped_unit_of_work_is_rolled_back,
            savepoint_gives_up_what_came_after,
            error_ends_the_unit_of_work,
            not_found_and_conflict_end_nothing,
            savepoint_survives_an_error,
            read_only_unit_of_work_refuses_writes,
            listeners_hear_of_commits_alone,
            what_is_written_before_a_commit_is_part_of_it,
            run_tries_again_when_that_helps,
            run_gives_up_after_its_attempts,
            statement_timeout_interrupts,
            many_tenants_share_two_connections,
            dropped_futures_leave_nothing_behind,
            dropped_write_ends_the_unit_of_work,
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
