//! A value that is kept nowhere: it is looked for, loaded at once, and stored behind the caller.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{CacheKind, TenantCache};

use super::super::{CacheBench, missing};
use super::far_alone;
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};
use crate::server::Stripes;

/// As long as ours keeps it.
pub(super) const KEPT: Duration = Duration::from_secs(300);

pub(super) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    for link in Link::ALL {
        let (tenant, kind) = far_alone(bench, link).await?;
        let stripes = bench.server.stripes(link).await?;
        let sides = [
            Side::new("tenantry", Ours { tenant, kind }),
            Side::new("get-and-set-by-hand", ByHand { stripes, link }),
        ];
        let targets = [Target::None];
        bench
            .compare(report, "shared/miss", link, &sides, &targets, Target::None)
            .await?;
    }
    Ok(())
}

struct Ours {
    tenant: TenantCache,
    kind: CacheKind<Profile>,
}

impl Operation for Ours {
    type Input = (usize, String);

    fn prepare(&self, turn: usize) -> (usize, String) {
        (turn, format!("new customer {turn}"))
    }

    async fn run(&self, (number, key): (usize, String)) -> Result<()> {
        let load = move || async move { Ok(Some(Profile::numbered(number))) };
        let loaded = self.tenant.get_or_load(&self.kind, &key, load).await?;
        black_box(loaded.ok_or_else(missing)?);
        Ok(())
    }
}

/// With no fence, no turn, and a store for which the caller waits.
struct ByHand {
    stripes: Arc<Stripes>,
    link: Link,
}

impl Operation for ByHand {
    type Input = (usize, String);

    fn prepare(&self, turn: usize) -> (usize, String) {
        (turn, format!("by hand:{}:profile:{turn}", self.link))
    }

    async fn run(&self, (number, key): (usize, String)) -> Result<()> {
        let mut connection = self.stripes.next();
        let found: Option<Vec<u8>> = redis::cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await?;
        if found.is_some() {
            return Err("a row that was not loaded is there".into());
        }
        let loaded = Profile::numbered(number);
        redis::cmd("SET")
            .arg(&key)
            .arg(postcard::to_stdvec(&loaded)?)
            .arg("PX")
            .arg(u64::try_from(KEPT.as_millis())?)
            .exec_async(&mut connection)
            .await?;
        black_box(loaded);
        Ok(())
    }
}
