//! The script that stores a value if its fence holds, beside a plain `SET`.
//!
//! A cache runs it behind its callers, where nobody can measure it: it is called by hand here, as the
//! cache calls it.

use std::sync::Arc;

use redis::Script;
use tenantry_core::TenantId;

use super::super::CacheBench;
use super::KEYS;
use super::miss::KEPT;
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};
use crate::server::Stripes;

const NONCE: &[u8] = b"87654321";

pub(super) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let stripes = bench.server.stripes(Link::Loopback).await?;
    let value: Arc<[u8]> = postcard::to_stdvec(&Profile::numbered(7))?.into();
    let set = Set {
        stripes: Arc::clone(&stripes),
        keys: (0..KEYS).map(|it| format!("set:profile:{it}")).collect(),
        value: Arc::clone(&value),
    };
    let sides = [
        Side::new("script", Fenced::open(stripes, value).await?),
        Side::new("set-px", set),
    ];
    let targets = [Target::Times(1.5)];
    bench
        .compare(
            report,
            "shared/store",
            Link::Loopback,
            &sides,
            &targets,
            Target::None,
        )
        .await?;
    Ok(())
}

struct Fenced {
    stripes: Arc<Stripes>,
    script: Script,
    epoch: String,
    generation: String,
    keys: Box<[String]>,
    of_tenant: String,
    fence: Vec<u8>,
    value: Arc<[u8]>,
}

impl Fenced {
    /// Puts there what the fence is compared with.
    async fn open(stripes: Arc<Stripes>, value: Arc<[u8]>) -> Result<Self> {
        let script = include_str!("../../../../crates/cache/src/redis/scripts/store.lua");
        let of_tenant = format!("store:{{t:{}}}", TenantId::generate());
        let opened = Self {
            stripes,
            script: Script::new(script),
            epoch: "store:epoch".to_owned(),
            generation: format!("{of_tenant}:generation"),
            keys: (0..KEYS)
                .map(|it| format!("{of_tenant}:value:profile:customer%20{it}"))
                .collect(),
            of_tenant: format!("{of_tenant}:bytes"),
            fence: NONCE.repeat(3),
            value,
        };
        let mut pipe = redis::pipe();
        pipe.hset(&opened.epoch, "epoch", NONCE).ignore();
        pipe.set(&opened.generation, NONCE).ignore();
        for key in &opened.keys {
            pipe.hset(key, "nonce", NONCE).ignore();
        }
        pipe.exec_async(&mut opened.stripes.next()).await?;
        Ok(opened)
    }
}

impl Operation for Fenced {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let kept = u64::try_from(KEPT.as_millis())?;
        let mut store = self.script.prepare_invoke();
        store
            .key(&self.epoch)
            .key(&self.generation)
            .key(&self.keys[number])
            .key(&self.of_tenant)
            .arg(&self.fence)
            .arg("value 0")
            .arg(kept)
            .arg(kept)
            .arg(&*self.value)
            // A tenant may take as much as there is.
            .arg(0);
        let is_stored: bool = store.invoke_async(&mut self.stripes.next()).await?;
        match is_stored {
            true => Ok(()),
            false => Err("a fence does not hold though nothing was invalidated".into()),
        }
    }
}

struct Set {
    stripes: Arc<Stripes>,
    keys: Box<[String]>,
    value: Arc<[u8]>,
}

impl Operation for Set {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        redis::cmd("SET")
            .arg(&self.keys[number])
            .arg(&*self.value)
            .arg("PX")
            .arg(u64::try_from(KEPT.as_millis())?)
            .exec_async(&mut self.stripes.next())
            .await?;
        Ok(())
    }
}
