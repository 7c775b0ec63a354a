//! Blobs of tenants: put once, kept as long as they must be, gone when they should be, and able to say
//! why they are still there.
//!
//! # Parts
//!
//! | what | types |
//! |---|---|
//! | the handle of a service, and that of one tenant | [`BlobStore`], [`TenantBlobs`] |
//! | names, which are never a user's text | [`BlobName`], [`BlobKind`], [`BlobId`], [`BlobPrefix`] |
//! | what is said of a blob when it is put, and known of it then | [`PutOptions`], [`BlobRecord`], [`Metadata`], [`Tags`], [`Tier`] |
//! | how long it is kept | [`Retention`], [`RetentionClass`], [`RetentionState`], [`LegalHold`] |
//! | why, and the proof of it | [`WhyRetained`], [`RetentionReceipt`] |
//! | who hears of what is done to it | [`RetentionAudit`], [`RetentionAct`] |
//! | erasing a tenant, with a proof | [`TenantBlobs::erase`], [`ErasureReport`] |
//! | encrypts each tenant's blobs by its own key, with the feature `encryption` | `EncryptedBlobs`, `BlobKeys`, [`BlobEncryption`] |
//! | deletes what is over, and archives what is due; on a schedule | [`Sweeper`], [`Schedule`] |
//! | rows that say which blobs count, with the feature `artifacts` | `TenantArtifacts`, `Artifact`, `ArtifactRepository`, `ArtifactErasure`, `ArtifactSweeper` |
//! | rules by which a storage account archives and deletes by itself, with the feature `lifecycle` | `LifecyclePlan`, `ClassLifecycle`, `LifecyclePolicy`, `LifecycleDiff` |
//! | what such rules would do, tried before | `LifecycleSimulator`, `LifecycleChange` |
//! | what is set on an account and its containers, with the feature `azure-management` | `StorageManagement` |
//! | the blobs of a tenant as an `ObjectStore`, with the feature `object-store` | `TenantObjectStore` |
//! | checksums | [`Crc64`] of each block, [`Sha256`] of the whole |
//! | backends | [`BlobBackend`], implemented by [`MemoryBlobs`] with the feature `fs` by `FsBlobs`, and with the feature `azure` by `AzureBlobs` |
//!
//! With the feature `conformance`, a module of that name holds a backend to its contract.
//!
//! # Why not an object store
//!
//! `object_store` and `opendal` move bytes well, and know no retention: nothing tells them how long a
//! blob is to be kept, their local backends drop tags, and no checksum travels with a block. Here
//! retention is an argument of every put, every backend refuses what immutable storage refuses, and what
//! was locked is read back before the put succeeds.
//!
//! # Examples
//!
//! See [`BlobStore`].

#[cfg(feature = "artifacts")]
mod artifact;
mod as_text;
#[cfg(feature = "azure")]
mod azure;
mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "encryption")]
mod encryption;
#[cfg(feature = "fs")]
mod fs;
#[cfg(any(feature = "azure", feature = "azure-management"))]
mod identity;
mod integrity;
#[cfg(feature = "lifecycle")]
mod lifecycle;
#[cfg(feature = "azure-management")]
mod management;
mod memory;
mod name;
#[cfg(feature = "object-store")]
mod object_store;
mod record;
mod retention;
mod store;
mod sweep;
mod telemetry;
#[cfg(any(feature = "azure", feature = "azure-management"))]
mod tls;

#[cfg(feature = "artifacts")]
pub use self::artifact::{
    ARTIFACTS_POSTGRES, ARTIFACTS_SQLITE, Artifact, ArtifactErasure, ArtifactId,
    ArtifactRepository, ArtifactState, ArtifactSweep, ArtifactSweepReport, ArtifactSweeper,
    TenantArtifacts,
};
#[cfg(feature = "azure")]
pub use self::azure::{AzureBlobs, AzureCredential, AzureLayout, AzureSettings};
pub use self::backend::{
    BackendPage, BlobBackend, BlobRead, BlobUpload, Deletion, DueAction, DueBlob, ListedBlob,
    ListedDue, NewBlob, Seal, SignedUrl,
};
#[cfg(feature = "encryption")]
pub use self::encryption::{BlobKeys, EncryptedBlobs, VaultKeys};
#[cfg(feature = "fs")]
pub use self::fs::{FsBlobs, FsSettings};
pub use self::integrity::{Block, Crc64, Sha256};
#[cfg(feature = "lifecycle")]
pub use self::lifecycle::{
    AgeBasis, BlobChange, BlobForecast, BlobPart, CLASS_TAG, ChangeEffect, ClassLifecycle,
    KIND_TAG, LifecycleActions, LifecycleAge, LifecycleBlob, LifecycleChange,
    LifecycleChangeReport, LifecycleDiff, LifecycleFault, LifecycleFaults, LifecycleFilter,
    LifecycleLayout, LifecyclePlan, LifecyclePolicy, LifecycleProblem, LifecycleRule,
    LifecycleSimulator, LifecycleStep, PolicyRule, RuleChange, StepAction, Withheld,
};
#[cfg(feature = "azure-management")]
pub use self::management::{
    AccountState, BlobServiceChange, BlobServiceState, ContainerName, ContainerState,
    EncryptionScope, ImmutabilityPolicy, ManagementAct, ManagementAction, ManagementAudit,
    ManagementConnection, ManagementCredential, ManagementFinding, ManagementOrder,
    ManagementReport, ManagementSeverity, NewContainer, ProtectedAppends, ScopeKey, ScopeName,
    StorageAccount, StorageManagement,
};
pub use self::memory::MemoryBlobs;
pub use self::name::{BlobId, BlobKind, BlobName, BlobPrefix};
#[cfg(feature = "object-store")]
pub use self::object_store::TenantObjectStore;
pub use self::record::{
    BlobEncryption, BlobRecord, ContentType, ETag, KeyState, Metadata, RehydratePriority,
    Rehydration, Tags, Tier,
};
pub use self::retention::{
    HoldTag, LegalHold, LockMode, RetainedBy, Retention, RetentionAct, RetentionAction,
    RetentionAudit, RetentionClass, RetentionReceipt, RetentionState, WhyRetained,
};
pub use self::store::{
    BlobPage, BlobReader, BlobStore, ErasedBlob, ErasureReport, ListOptions, PutOptions,
    ShreddedBlob, StoredBlob, StoredBytes, TenantBlobs,
};
pub use self::sweep::{Schedule, SweepFailure, SweepPolicy, SweepReport, Sweeper};
