//! A unit of work ends with its commit.

use tenantry_store::{Result, UnitOfWork};

async fn pay(work: UnitOfWork) -> Result<()> {
    work.commit().await?;
    work.rollback().await
}

fn main() {}
