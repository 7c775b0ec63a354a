use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_core::stream::BoxStream;
use tenantry_core::{Result, TenantId};

use super::Repository;
use crate::aggregate::{Aggregate, Version};
use crate::query::{Changes, Filter, Page, Query};

/// A pointer to a repository is one.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<A: Aggregate, R: Repository<A> + ?Sized> Repository<A> for $pointer {
            fn tenant(&self) -> TenantId {
                (**self).tenant()
            }

            async fn find(&self, id: &A::Id) -> Result<Option<A>> {
                (**self).find(id).await
            }

            async fn get_many(&self, ids: &[A::Id]) -> Result<Vec<A>> {
                (**self).get_many(ids).await
            }

            async fn exists(&self, id: &A::Id) -> Result<bool> {
                (**self).exists(id).await
            }

            async fn count(&self, filter: Filter<A>) -> Result<u64> {
                (**self).count(filter).await
            }

            async fn list(&self, query: Query<A>) -> Result<Page<A>> {
                (**self).list(query).await
            }

            fn stream(&self, query: Query<A>) -> BoxStream<'_, Result<A>> {
                (**self).stream(query)
            }

            async fn insert(&self, aggregate: &mut A) -> Result<()> {
                (**self).insert(aggregate).await
            }

            async fn insert_many(&self, aggregates: &mut [A]) -> Result<()> {
                (**self).insert_many(aggregates).await
            }

            async fn update(&self, aggregate: &mut A) -> Result<()> {
                (**self).update(aggregate).await
            }

            async fn delete_by_id(&self, id: &A::Id, expected: Option<Version>) -> Result<()> {
                (**self).delete_by_id(id, expected).await
            }

            async fn upsert(&self, aggregate: &mut A) -> Result<()> {
                (**self).upsert(aggregate).await
            }

            async fn update_where(
                &self,
                filter: Filter<A>,
                changes: Changes<A>,
                limit: u32,
            ) -> Result<u64> {
                (**self).update_where(filter, changes, limit).await
            }

            async fn delete_where(&self, filter: Filter<A>, limit: u32) -> Result<u64> {
                (**self).delete_where(filter, limit).await
            }

            async fn restore(&self, id: &A::Id) -> Result<()> {
                (**self).restore(id).await
            }

            async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
                (**self).purge(deleted_before, limit).await
            }
        }
    )*};
}

forward!(Arc<R>, Box<R>, &R);
