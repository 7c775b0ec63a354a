//! Secrets, resolved and cached.

mod budget;
mod entry;
mod event_grid;
mod policy;
mod rotation;
mod telemetry;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::RwLock;
use tenantry_core::{
    Error, ErrorKind, RequestContext, Result, Secret, SecretGeneration, SecretLocation,
    SecretReference, SecretResolver, SecretSource, SecretWatch, SharedClock, SystemClock, TenantId,
};
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::budget::{Gate, Purpose};
use self::entry::{Entry, Failure, Flight, Found, How, Pushed, Ticket, forbids};
pub use self::event_grid::AcceptedEvent;
pub use self::policy::CachePolicy;
pub use self::rotation::{Credential, ExpiringSecret, Rotated};
use self::telemetry::{Call, Instruments};
use crate::env::Environment;
use crate::folder::Folders;
use crate::tenant::TenantSecrets;
use crate::vault::{SecretRecord, Vault};

const RESOLVE: &str = "resolve secret";

/// Of how many entries at most one is forgotten at once, those that are missed least.
const FORGOTTEN: usize = 16;

/// How often a read is begun anew whose runtime has ended: it may be one's own that does.
const TRIES: u32 = 16;

/// How often a vault that does not answer is asked for a value that somebody has told of.
const PUSH_TRIES: u32 = 8;

/// Turns references into secrets, and keeps them for a while.
///
/// It is cheap to clone; clones share what is known. One secret is one entry, however often and by
/// whichever spelling it is referred to, and whoever asks for it at the same time shares one read of
/// the vault, which runs in a task of its own.
///
/// A vault that is down when a secret is asked for first makes that call fail. Later its value is
/// used for up to [`with_max_stale`](CachePolicy::with_max_stale), and the vault is tried again with
/// growing pauses. What a vault says to be gone, disabled or expired is refused from then on.
///
/// Each resolve leaves an event of the target `tenantry::secrets`: the actor, the reference, the
/// generation and how the value came about; at the level debug if it was known, at info if it was
/// read, and as a warning if it is stale or refused.
///
/// # Examples
///
/// See the [crate](crate).
#[derive(Clone)]
pub struct Secrets {
    inner: Arc<Inner>,
    context: RequestContext,
}

struct Inner {
    clock: SharedClock,
    policy: CachePolicy,
    vaults: HashMap<Box<str>, (Arc<dyn Vault>, Gate)>,
    environment: Environment,
    folders: Folders,
    instruments: Instruments,
    /// By the reference in lower case, for Key Vault does not tell upper from lower case.
    entries: RwLock<HashMap<SecretReference, Arc<Entry>>>,
}

/// Says where secrets are, to build [`Secrets`].
#[derive(Debug)]
pub struct SecretsBuilder {
    clock: SharedClock,
    policy: CachePolicy,
    vaults: HashMap<Box<str>, Arc<dyn Vault>>,
    environment: Environment,
    folders: Folders,
}

impl SecretsBuilder {
    /// Adds a vault, for references `kv://<name>/…`.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): no vault can be called so, or there is one.
    pub fn with_vault(mut self, name: &str, vault: Arc<dyn Vault>) -> Result<Self> {
        let reference = format!("kv://{name}/name").parse::<SecretReference>();
        let wrong = match &reference {
            Err(_) => "expected 3 to 24 letters, digits and hyphens that begin with a letter",
            Ok(_) if self.vaults.contains_key(&*name.to_ascii_lowercase()) => {
                "there is a vault of this name already"
            }
            Ok(_) => {
                self.vaults.insert(name.to_ascii_lowercase().into(), vault);
                return Ok(self);
            }
        };
        Err(Error::new(ErrorKind::InvalidSettings, "add vault")
            .with_subject(name.to_owned())
            .with_detail(wrong))
    }

    /// Lets references name an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>) -> Self {
        self.environment.allow(name.into());
        self
    }

    /// Lets references name the files below a folder; a relative path is looked for in each, in the order
    /// in which they were added.
    ///
    /// A folder that was there once, here or later, and is gone makes the vault `Unavailable` for what
    /// may be in it: a volume that is not mounted has not lost its files, and no other folder's file
    /// takes their place. One that never was there is passed over.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.allow(folder.into());
        self
    }

    /// Sets how long values are kept.
    #[must_use]
    pub fn with_policy(mut self, policy: CachePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds it, without a call to any vault.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the policy contradicts itself.
    pub fn build(self) -> Result<Secrets> {
        self.policy.check()?;
        let gate = || Gate::new(self.policy.budget);
        let vaults = self.vaults.into_iter();
        let vaults = vaults
            .map(|(name, vault)| (name, (vault, gate())))
            .collect();
        Ok(Secrets {
            inner: Arc::new(Inner {
                clock: self.clock,
                vaults,
                policy: self.policy,
                environment: self.environment,
                folders: self.folders,
                instruments: Instruments::new(),
                entries: RwLock::default(),
            }),
            context: RequestContext::system(),
        })
    }
}

impl Secrets {
    /// Begins to say where secrets are; without more, no reference leads anywhere.
    #[must_use]
    pub fn builder() -> SecretsBuilder {
        SecretsBuilder {
            clock: Arc::new(SystemClock),
            policy: CachePolicy::default(),
            vaults: HashMap::new(),
            environment: Environment::default(),
            folders: Folders::default(),
        }
    }

    /// Returns a handle for the secrets of one tenant, and of nobody else.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantSecrets {
        TenantSecrets::new(self.clone(), tenant)
    }

    /// Returns a handle whose events name the actor of this request.
    #[must_use]
    pub fn with_context(&self, context: RequestContext) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            context,
        }
    }

    /// Looks whether a vault answers, by a call that takes one of its budget; nothing that is kept is asked.
    ///
    /// # Errors
    ///
    /// - [`UnknownVault`](ErrorKind::UnknownVault): none was added by this name.
    /// - [`Throttled`](ErrorKind::Throttled): it is left alone for a while.
    /// - [`Unavailable`](ErrorKind::Unavailable), [`PermissionDenied`](ErrorKind::PermissionDenied) and the
    ///   like: it does not answer, or not to this process.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use tenantry_core::ErrorKind;
    /// use tenantry_secrets::{MemoryVault, Secrets};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// let secrets = Secrets::builder()
    ///     .with_vault("billing", Arc::new(MemoryVault::new()))?
    ///     .build()?;
    /// secrets.check_vault("billing").await?;
    /// let unknown = secrets.check_vault("orders").await.unwrap_err();
    /// assert_eq!(unknown.kind(), ErrorKind::UnknownVault);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check_vault(&self, vault: &str) -> Result<()> {
        let checked = self
            .inner
            .with_vault(&vault.to_ascii_lowercase(), Purpose::Check, |vault| {
                vault.check()
            })
            .await;
        checked.map_err(|error| {
            let error = Error::retold("check vault", error);
            error.with_subject(vault.to_owned())
        })
    }

    /// Returns the names of the vaults, in order.
    #[must_use]
    pub fn vault_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.inner.vaults.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// Returns the generation that is to be used now.
    async fn generation(&self, reference: &SecretReference) -> Result<SecretGeneration> {
        let entry = self.entry(reference)?;
        self.generation_of(reference, &entry).await
    }

    fn entry(&self, reference: &SecretReference) -> Result<Arc<Entry>> {
        let entry = in_runtime(RESOLVE).and_then(|()| self.inner.entry(reference));
        entry.inspect_err(|error| self.tell_refused(reference, error.kind()))
    }

    async fn generation_of(
        &self,
        reference: &SecretReference,
        entry: &Arc<Entry>,
    ) -> Result<SecretGeneration> {
        let outcome = self.inner.generation_of(entry).await;
        match &outcome {
            Ok((generation, how)) => self.tell(reference, generation, *how),
            Err(failure) => self.tell_refused(reference, failure.kind()),
        }
        match outcome {
            Ok((generation, _)) => Ok(generation),
            Err(failure) => Err(failure.error(RESOLVE, reference)),
        }
    }

    fn tell(&self, reference: &SecretReference, generation: &SecretGeneration, how: How) {
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: "tenantry::secrets",
                    actor = self.context.actor().as_str(),
                    %reference,
                    generation = generation.number(),
                    version = generation.version(),
                    outcome = how.as_str(),
                    "secret resolved"
                )
            };
        }
        self.inner.instruments.resolved(how.as_str(), None);
        match how {
            How::Known => tell!(debug),
            How::Read => tell!(info),
            How::Stale => tell!(warn),
        }
    }

    /// Tells of a reference that a tenant has no part in.
    pub(crate) fn tell_foreign(&self, reference: &SecretReference, tenant: TenantId) {
        let kind = ErrorKind::NotFound.as_str();
        self.inner.instruments.resolved("refused", Some(kind));
        tracing::warn!(
            target: "tenantry::secrets",
            actor = self.context.actor().as_str(),
            %tenant,
            %reference,
            "secret of somebody else refused"
        );
    }

    fn tell_refused(&self, reference: &SecretReference, kind: ErrorKind) {
        let instruments = &self.inner.instruments;
        instruments.resolved("refused", Some(kind.as_str()));
        self.tell_failure(RESOLVE, reference, kind);
    }

    fn tell_failure(&self, operation: &str, reference: &SecretReference, kind: ErrorKind) {
        tracing::warn!(
            target: "tenantry::secrets",
            actor = self.context.actor().as_str(),
            %reference,
            operation,
            error = kind.as_str(),
            "secret refused"
        );
    }
}

impl Inner {
    /// Returns the entry of a secret.
    fn entry(&self, reference: &SecretReference) -> Result<Arc<Entry>> {
        let known = reference.in_lower_case();
        if let Some(entry) = self.entries.read().get(&*known) {
            return Ok(Arc::clone(entry));
        }
        // What leads nowhere takes no room.
        if let SecretLocation::KeyVault { vault, .. } = known.location() {
            self.vault(vault)
                .map_err(|error| error.with_subject(reference.to_string()))?;
        }
        let now = self.clock.monotonic();
        let mut entries = self.entries.write();
        if entries.len() >= self.policy.entries && !entries.contains_key(&*known) {
            // Several, so that not each new one has to look through all.
            let idle = entries.values().filter(|entry| !entry.is_followed());
            let mut idle: Vec<_> = idle
                .map(|entry| (entry.worth(), entry.reference.clone()))
                .collect();
            idle.sort_unstable();
            for (_, reference) in idle.iter().take((self.policy.entries / FORGOTTEN).max(1)) {
                entries.remove(reference);
            }
        }
        let known = known.into_owned();
        let entry = entries
            .entry(known.clone())
            .or_insert_with(|| Arc::new(Entry::new(known, now)));
        Ok(Arc::clone(entry))
    }

    /// Returns the entry of a secret that was asked for already.
    fn known(&self, reference: &SecretReference) -> Option<Arc<Entry>> {
        let entries = self.entries.read();
        entries.get(&*reference.in_lower_case()).map(Arc::clone)
    }

    fn vault(&self, name: &str) -> Result<&(Arc<dyn Vault>, Gate)> {
        self.vaults.get(name).ok_or_else(|| {
            Error::new(ErrorKind::UnknownVault, RESOLVE)
                .with_detail("add the vault by with_vault, or correct the reference")
        })
    }

    /// Returns the names by which a vault was added that is called so, here or by its service.
    fn vaults_called(&self, called: &str) -> impl Iterator<Item = &str> {
        let is_it = move |name: &str| name.eq_ignore_ascii_case(called);
        let called = self.vaults.iter().filter(move |(name, (vault, _))| {
            is_it(name) || vault.service_name().is_some_and(is_it)
        });
        called.map(|(name, _)| &**name)
    }

    async fn generation_of(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
    ) -> Result<(SecretGeneration, How), Failure> {
        let flight = loop {
            let settled = entry.settled();
            match entry.look(self.clock.monotonic(), self.clock.now()) {
                Found::Value {
                    generation,
                    how,
                    is_due,
                } => {
                    if is_due {
                        drop(self.read(entry));
                    }
                    return Ok((generation, how));
                }
                Found::Failed(failure) => return Err(failure),
                Found::Nothing => {}
            }
            // A read that others have ended meanwhile is not made once more.
            if let Some(flight) = entry.flight_since(settled, |ticket| self.begin(entry, ticket)) {
                break flight;
            }
        };
        let outcome = self.end_of(flight, entry, 0).await;
        match entry.look(self.clock.monotonic(), self.clock.now()) {
            Found::Value {
                generation, how, ..
            } => {
                let how = if outcome.is_ok() { How::Read } else { how };
                Ok((generation, how))
            }
            Found::Failed(failure) => Err(failure),
            Found::Nothing => {
                outcome?;
                let read = entry.just_read(self.clock.now());
                read.map(|generation| (generation, How::Read))
                    .ok_or_else(|| {
                        // The clock has gone on, further than the value holds.
                        Failure::new(Error::new(ErrorKind::SecretExpired, RESOLVE))
                    })
            }
        }
    }

    /// Begins to read a secret, or joins who has begun.
    fn read(self: &Arc<Self>, entry: &Arc<Entry>) -> Flight {
        entry.flight(|ticket| self.begin(entry, ticket))
    }

    /// Begins to read a secret.
    fn begin(self: &Arc<Self>, entry: &Arc<Entry>, ticket: Ticket) -> Flight {
        let (inner, entry) = (Arc::clone(self), Arc::clone(entry));
        // In a task of its own: whoever began it may go away.
        let task = tokio::spawn(async move {
            let landing = Landing(&entry, ticket);
            let span = tracing::info_span!(
                target: "tenantry::secrets",
                "read secret",
                reference = %entry.reference,
            );
            let outcome = AssertUnwindSafe(inner.record(&entry).instrument(span))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(panicked()));
            let (now, wall) = (inner.clock.monotonic(), inner.clock.now());
            let settled = entry.settle(ticket, outcome, &inner.policy, now, wall);
            drop(landing);
            settled.map(|changed| {
                if let Some(generation) = changed {
                    tracing::info!(
                        target: "tenantry::secrets",
                        reference = %entry.reference,
                        generation = generation.number(),
                        version = generation.version(),
                        "secret has a new value"
                    );
                }
            })
        });
        Flight::of(ticket, task, lost)
    }

    /// Waits for a read of a secret that has begun after a demand, whoever has begun it.
    async fn read_since(self: &Arc<Self>, entry: &Arc<Entry>, demand: u64) -> Result<(), Failure> {
        self.end_of(self.read(entry), entry, demand).await
    }

    /// Waits for a read of a secret, or for a later one that has begun after a demand.
    ///
    /// Others may read in runtimes of their own, which end, or rest and do nothing: then it is read in
    /// this one.
    async fn end_of(
        self: &Arc<Self>,
        mut flight: Flight,
        entry: &Arc<Entry>,
        demand: u64,
    ) -> Result<(), Failure> {
        // Nothing that reads takes longer.
        let patience = self.policy.deadline.saturating_mul(2);
        let mut tries = TRIES;
        loop {
            let ticket = flight.ticket;
            match tokio::time::timeout(patience, flight.end()).await {
                Ok(Err(failure)) if failure.is_lost() && tries > 0 => tries -= 1,
                Ok(outcome) if ticket.answers(demand) => return outcome,
                // It began too early to tell.
                Ok(_) => {}
                Err(_) => entry.landed(ticket),
            }
            flight = self.read(entry);
        }
    }

    /// Has a secret read that somebody has heard of; says whether it is known here.
    fn read_soon(self: &Arc<Self>, reference: &SecretReference) -> bool {
        let Some(entry) = self.known(reference) else {
            return false;
        };
        if let Some(due) = entry.push(self.clock.monotonic()) {
            tokio::spawn(Arc::clone(self).read_pushed(entry, due));
        }
        true
    }

    /// Reads a secret when that is due, and once more where the vault does not answer: nobody tells of
    /// it again.
    async fn read_pushed(self: Arc<Self>, entry: Arc<Entry>, mut due: (Duration, Pushed)) {
        for _ in 0..PUSH_TRIES {
            let (pause, pushed) = due;
            tokio::time::sleep(pause).await;
            drop(pushed);
            match self.read_since(&entry, entry.demand()).await {
                Err(failure) if failure.kind().is_retryable() => {
                    let now = self.clock.monotonic();
                    let Some((pause, pushed)) = entry.push(now) else {
                        // Somebody has heard of it since, and has it read in place of this.
                        return;
                    };
                    due = (pause.max(entry.backoff(now)), pushed);
                }
                _ => return,
            }
        }
    }

    /// Reads a secret where it is kept: its newest version, or the one that is in use if the newest
    /// begins to hold later.
    async fn record(&self, entry: &Entry) -> Result<SecretRecord> {
        let purpose = match entry.reference.tenant() {
            Some(_) if !entry.is_followed() => Purpose::ReadForTenant,
            _ => Purpose::Read,
        };
        let begun = Instant::now();
        let early = match self.call(&entry.reference, purpose).await {
            Err(error) if error.kind() == ErrorKind::SecretNotYetValid => error,
            outcome => return outcome,
        };
        let Some(version) = entry.known_version() else {
            return Err(early);
        };
        // What the vault says of it now: it may have been disabled since.
        let known = entry.reference.with_version(&version)?;
        let call = self.call(&known, purpose);
        // Both are one read, with one deadline.
        let left = self.policy.deadline.saturating_sub(begun.elapsed());
        let outcome = tokio::time::timeout(left, call).await;
        match outcome.unwrap_or_else(|_| Err(self.unanswered(purpose))) {
            Err(error) if forbids(error.kind()) => Err(early),
            outcome => outcome,
        }
    }

    /// Calls the place that a reference names, once; what it gives holds now.
    async fn call(&self, reference: &SecretReference, purpose: Purpose) -> Result<SecretRecord> {
        let record = self.read_from(reference, purpose).await?;
        record.validity.check(self.clock.now()).map(|()| record)
    }

    async fn read_from(
        &self,
        reference: &SecretReference,
        purpose: Purpose,
    ) -> Result<SecretRecord> {
        match reference.location() {
            SecretLocation::KeyVault {
                vault,
                name,
                version,
            } => {
                self.with_vault(vault, purpose, |vault| vault.read(name, version))
                    .await
            }
            SecretLocation::File { path, key } => {
                self.in_time(purpose, self.folders.read(path, key)).await
            }
            SecretLocation::Env { name } => self.environment.read(name),
            _ => Err(Error::new(ErrorKind::Unsupported, RESOLVE)),
        }
    }

    /// Calls a vault within its budget and the deadline.
    async fn with_vault<'s, T, F>(
        &'s self,
        name: &str,
        purpose: Purpose,
        call: impl FnOnce(&'s dyn Vault) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        in_runtime("call vault")?;
        let (vault, gate) = self.vault(name)?;
        let pass = gate.enter(self.clock.monotonic(), purpose)?;
        let observed = Call::begin(&self.instruments, name, purpose.as_str());
        let outcome = self.in_time(purpose, call(&**vault)).await;
        observed.end(&outcome);
        pass.leave(self.clock.monotonic(), outcome.as_ref().map(drop));
        outcome
    }

    async fn in_time<T>(
        &self,
        purpose: Purpose,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::time::timeout(self.policy.deadline, call)
            .await
            .unwrap_or_else(|_| Err(self.unanswered(purpose)))
    }

    fn unanswered(&self, purpose: Purpose) -> Error {
        let (kind, advice) = purpose.unanswered();
        let detail = format!("no answer within {:?}{advice}", self.policy.deadline);
        Error::new(kind, "call vault").with_detail(detail)
    }
}

/// Checks that vaults can be read, which tasks of Tokio do.
fn in_runtime(operation: &'static str) -> Result<()> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(ErrorKind::Unsupported, operation)
            .with_detail("call it inside a runtime of Tokio, which reads the vault")),
    }
}

/// Returns what is told of a read whose task did not end.
fn lost(error: &JoinError) -> Failure {
    match error.is_panic() {
        true => Failure::new(panicked()),
        false => Failure::lost(
            Error::new(ErrorKind::Unavailable, RESOLVE)
                .with_detail("the runtime that read it has ended"),
        ),
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unexpected, RESOLVE).with_detail("the read of the vault has panicked")
}

/// Says that a read has ended, also when its runtime ends.
struct Landing<'e>(&'e Entry, Ticket);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.landed(self.1);
    }
}

#[async_trait]
impl SecretResolver for Secrets {
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
        let generation = self.generation(reference).await?;
        Ok(Arc::clone(generation.secret()))
    }
}

#[async_trait]
impl SecretSource for Secrets {
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>> {
        // Followed first, so that it stays while it is read.
        let (entry, following) = loop {
            let entry = self.entry(reference)?;
            let following = watch::Watch::begin(&self.inner, &entry);
            // Another may have taken its room before it was followed.
            if self
                .inner
                .known(reference)
                .is_some_and(|known| Arc::ptr_eq(&known, &entry))
            {
                break (entry, following);
            }
        };
        let current = self.generation_of(reference, &entry).await?;
        Ok(Arc::new(watch::Watch::follow(
            &self.inner,
            entry,
            current,
            following,
        )))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut vaults: Vec<_> = self.inner.vaults.keys().collect();
        vaults.sort();
        f.debug_struct("Secrets")
            .field("vaults", &vaults)
            .field("known", &self.inner.entries.read().len())
            .finish_non_exhaustive()
    }
}
