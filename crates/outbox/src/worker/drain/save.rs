//! How far a worker is, written down.

use std::time::{Duration, Instant};

use tenantry_core::Result;

use super::{Drain, is_lost, may_pass};
use crate::log::{Group, Passed, Progress, lost};
use crate::worker::claim::Claim;

impl Drain {
    /// Saves how far a group is; what was published is published, so that this is tried until the claim is lost, or until
    /// trying again cannot help.
    pub(super) async fn save(
        &mut self,
        claim: &Claim,
        group: &Group,
        passed: &Passed,
    ) -> Result<Progress> {
        let mut attempts = 0;
        loop {
            claim.check()?;
            match self.log.save(claim.token, group, passed).await {
                Ok(progress) => {
                    self.saved_at = Instant::now();
                    return Ok(progress);
                }
                Err(error) if is_lost(&error) => return Err(error),
                Err(error) => {
                    attempts += 1;
                    if attempts == 1 {
                        tracing::warn!(
                            target: "tenantry::outbox",
                            worker = self.settings.name,
                            %error,
                            "what was handed over cannot be saved"
                        );
                    }
                    if !may_pass(&error) {
                        return Err(error);
                    }
                    let wait = Duration::from_millis(20) * (1 << attempts.min(6));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = claim.is_lost() => return Err(lost("save position")),
                    }
                }
            }
        }
    }
}
