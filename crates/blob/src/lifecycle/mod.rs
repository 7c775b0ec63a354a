//! Rules by which the storage service itself archives and deletes, made of classes of retention.
//!
//! Nothing here does I/O: a plan is compiled to the policy of an account, held against the one that the
//! account has, and tried on blobs before anybody puts it.

mod blob;
mod change;
mod check;
mod diff;
mod fault;
mod json;
mod layout;
mod plan;
mod policy;
mod rule;
mod simulate;
mod text;

pub use self::blob::LifecycleBlob;
pub use self::change::{BlobChange, ChangeEffect, LifecycleChange, LifecycleChangeReport};
pub use self::diff::{LifecycleDiff, RuleChange};
pub use self::fault::{LifecycleFault, LifecycleFaults, LifecycleProblem};
pub use self::layout::LifecycleLayout;
pub use self::plan::{ClassLifecycle, LifecyclePlan};
pub use self::policy::{LifecyclePolicy, PolicyRule};
pub use self::rule::{
    AgeBasis, BlobPart, CLASS_TAG, KIND_TAG, LifecycleActions, LifecycleAge, LifecycleFilter,
    LifecycleRule,
};
pub use self::simulate::{BlobForecast, LifecycleSimulator, LifecycleStep, StepAction, Withheld};

#[cfg(test)]
mod tests;
