//! The guard itself, as what is judged.

use super::rewriter::{Refusal, Rewriter, Rewritten};
use super::world::World;

/// Refuses all: what is left is whether the statements of a corpus run at all.
#[derive(Debug)]
pub(crate) struct Guard;

impl Guard {
    pub(crate) async fn of(_world: &World) -> Self {
        Self
    }
}

impl Rewriter for Guard {
    fn rewrite(&self, _statement: &str) -> Result<Rewritten, Refusal> {
        Err(Refusal::new("there is no guard".to_owned()))
    }
}
