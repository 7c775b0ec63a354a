//! The rules of the life cycle of an account.

use azure_core::http::Method;
use tenantry_core::{ErrorKind, Result};

use super::act::{ManagementAction, ManagementOrder};
use super::{Call, StorageManagement};
use crate::lifecycle::LifecyclePolicy;

const PATH: &str = "/managementPolicies/default";

/// The rules of the life cycle.
impl StorageManagement {
    /// Returns the rules of the account; none where it has no policy.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors): an account that is not there is `NotFound`.
    pub async fn lifecycle(&self) -> Result<LifecyclePolicy> {
        let operation = self.reading("read life cycle", "");
        match self.get_optional(&operation, PATH).await? {
            Some(answer) => LifecyclePolicy::from_json(&answer).map_err(|_| operation.misread()),
            None => {
                // An account that is not there has no policy either.
                self.account_state().await?;
                Ok(LifecyclePolicy::none())
            }
        }
    }

    /// Gives the account these rules and no others, which is what
    /// [`merged`](crate::LifecycleDiff::merged) gives; without rules its policy is deleted.
    ///
    /// The service has no condition for it: of two at once the last one counts, with all of its rules.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), that of the audit, and
    /// [`Conflict`](ErrorKind::Conflict) where the answer shows other rules.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn lifecycle_put(
        &self,
        policy: &LifecyclePolicy,
        order: &ManagementOrder,
    ) -> Result<()> {
        if policy.is_empty() {
            return self.lifecycle_delete(order).await;
        }
        let operation = self.writing("put life cycle", "");
        self.order(ManagementAction::LifecyclePut, "", order)
            .await?;
        let call = Call::new(Method::Put, PATH).with_body(policy.to_request());
        let answer = self.call(&operation, call).await?.model(&operation)?;
        let shown = LifecyclePolicy::from_json(&answer).map_err(|_| operation.misread())?;
        if !shown.says_what(policy) {
            return Err(operation.failed(
                ErrorKind::Conflict,
                "the service shows other rules than it was given: read them again",
            ));
        }
        Ok(())
    }

    /// Takes all rules off; what has begun may go on for a day.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and that of the audit.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn lifecycle_delete(&self, order: &ManagementOrder) -> Result<()> {
        let operation = self.writing("delete life cycle", "");
        self.order(ManagementAction::LifecycleDeleted, "", order)
            .await?;
        let call = Call::new(Method::Delete, PATH);
        self.call(&operation, call).await.map(drop)
    }
}
