//! Serves the gateway on port 3000: `cargo run -p gateway [-- redis://localhost]`.

#![expect(clippy::print_stdout, reason = "a program for people to read")]

use std::error::Error;
use std::sync::Arc;

use gateway::{Tenants, router};
use tenantry::TenantId;
use tenantry::cache::{MemoryLimits, MemorySessions, RedisLimits, RedisSessions, RedisSettings};
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A service has them in its registry of tenants.
    let tenants = Tenants::from([
        ("acme.localhost", TenantId::new(Uuid::from_u128(1))?),
        ("globex.localhost", TenantId::new(Uuid::from_u128(2))?),
    ]);
    let router = match std::env::args().nth(1) {
        None => router(
            tenants,
            Arc::new(MemorySessions::new()),
            Arc::new(MemoryLimits::new()),
        )?,
        Some(url) => {
            let settings = RedisSettings::new(url).with_prefix("gateway");
            router(
                tenants,
                Arc::new(RedisSessions::new(&settings)?),
                Arc::new(RedisLimits::new(&settings)?),
            )?
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("Try");
    println!("  curl -i -d ada http://acme.localhost:3000/login");
    println!("  curl -b id=<from the answer> http://acme.localhost:3000/me");
    println!("  curl -b id=<the same> http://globex.localhost:3000/me");
    axum::serve(listener, router).await?;
    Ok(())
}
