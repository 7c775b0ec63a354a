//! The vaults, and what can be done to their secrets.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::names;
use super::refusal::Refusal;
use super::secret::{Change, Found, NewSecret, Secret};

const DAY: i64 = 24 * 60 * 60;

/// How long what is deleted can be recovered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub(super) days: u32,
    /// Nobody may purge before that time is over.
    pub(super) is_protected: bool,
}

/// All vaults of a server; one that was never written to is empty.
pub(super) struct Store {
    retention: Retention,
    vaults: BTreeMap<String, Vault>,
    /// By the text that a client got for them: what a backup holds is the server's to know.
    backups: HashMap<String, Secret>,
}

/// Names differ in case for the eye alone, so the keys are in lower case.
#[derive(Default)]
struct Vault {
    secrets: BTreeMap<String, Secret>,
    deleted: BTreeMap<String, Deleted>,
}

pub(super) struct Deleted {
    pub(super) secret: Secret,
    pub(super) at: i64,
    pub(super) purged_at: i64,
}

impl Retention {
    /// Returns what the attributes of every secret say of it.
    pub(super) const fn level(self) -> &'static str {
        match (self.days < 90, self.is_protected) {
            (false, false) => "Recoverable+Purgeable",
            (false, true) => "Recoverable",
            (true, false) => "CustomizedRecoverable+Purgeable",
            (true, true) => "CustomizedRecoverable",
        }
    }
}

impl Store {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            vaults: BTreeMap::new(),
            backups: HashMap::new(),
        }
    }

    pub(super) const fn retention(&self) -> Retention {
        self.retention
    }

    pub(super) fn get(&self, vault: &str, name: &str) -> Result<&Secret, Refusal> {
        names::check_secret(name)?;
        self.vaults
            .get(vault)
            .and_then(|vault| vault.secrets.get(&key(name)))
            .ok_or_else(|| Refusal::not_found(name))
    }

    pub(super) fn list(&self, vault: &str) -> impl Iterator<Item = (&String, &Secret)> {
        let vault = self.vaults.get(vault);
        vault.into_iter().flat_map(|vault| &vault.secrets)
    }

    pub(super) fn set(
        &mut self,
        vault: &str,
        name: &str,
        new: NewSecret,
        now: i64,
    ) -> Result<Found<'_>, Refusal> {
        names::check_secret(name)?;
        let vault = self.vault(vault, now);
        vault.check_not_deleted(name)?;
        let secret = match vault.secrets.remove(&key(name)) {
            // Put back whatever comes of it.
            Some(mut secret) => match secret.add(new, now) {
                Ok(()) => secret,
                Err(refusal) => {
                    vault.secrets.insert(key(name), secret);
                    return Err(refusal);
                }
            },
            None => Secret::create(name, new, now)?,
        };
        Ok(vault.put(secret).latest())
    }

    pub(super) fn change(
        &mut self,
        vault: &str,
        name: &str,
        version: Option<&str>,
        change: Change,
        now: i64,
    ) -> Result<Found<'_>, Refusal> {
        names::check_secret(name)?;
        let secret = self
            .vault(vault, now)
            .secrets
            .get_mut(&key(name))
            .ok_or_else(|| Refusal::not_found(name))?;
        secret.change(version, change, now)?;
        secret.find(version)
    }

    pub(super) fn delete(
        &mut self,
        vault: &str,
        name: &str,
        now: i64,
    ) -> Result<&Deleted, Refusal> {
        names::check_secret(name)?;
        let purged_at = now + i64::from(self.retention.days) * DAY;
        let vault = self.vault(vault, now);
        let secret = vault
            .secrets
            .remove(&key(name))
            .ok_or_else(|| Refusal::not_found(name))?;
        let deleted = Deleted {
            secret,
            at: now,
            purged_at,
        };
        Ok(vault
            .deleted
            .entry(key(name))
            .insert_entry(deleted)
            .into_mut())
    }

    pub(super) fn get_deleted(
        &mut self,
        vault: &str,
        name: &str,
        now: i64,
    ) -> Result<&Deleted, Refusal> {
        names::check_secret(name)?;
        self.vault(vault, now)
            .deleted
            .get(&key(name))
            .ok_or_else(|| Refusal::deleted_not_found(name))
    }

    pub(super) fn list_deleted(
        &mut self,
        vault: &str,
        now: i64,
    ) -> impl Iterator<Item = (&String, &Deleted)> {
        self.vault(vault, now).deleted.iter()
    }

    pub(super) fn recover(
        &mut self,
        vault: &str,
        name: &str,
        now: i64,
    ) -> Result<Found<'_>, Refusal> {
        names::check_secret(name)?;
        let vault = self.vault(vault, now);
        let deleted = vault
            .deleted
            .remove(&key(name))
            .ok_or_else(|| Refusal::deleted_not_found(name))?;
        Ok(vault.put(deleted.secret).latest())
    }

    pub(super) fn purge(&mut self, vault: &str, name: &str, now: i64) -> Result<(), Refusal> {
        self.get_deleted(vault, name, now)?;
        if self.retention.is_protected {
            let message = "Operation \"purge\" is not enabled for this vault.";
            return Err(Refusal::new(403, "Forbidden", message));
        }
        self.vault(vault, now).deleted.remove(&key(name));
        Ok(())
    }

    /// Returns the text that [`restore`](Self::restore) takes.
    pub(super) fn back_up(&mut self, vault: &str, name: &str) -> Result<String, Refusal> {
        let secret = self.get(vault, name)?.clone();
        let text = format!("{0}{0}", Uuid::new_v4().simple());
        self.backups.insert(text.clone(), secret);
        Ok(text)
    }

    pub(super) fn restore(
        &mut self,
        vault: &str,
        backup: &str,
        now: i64,
    ) -> Result<Found<'_>, Refusal> {
        let Some(secret) = self.backups.get(backup).cloned() else {
            let message = "Backup blob contains invalid or corrupt version.";
            return Err(Refusal::bad_parameter(message));
        };
        let vault = self.vault(vault, now);
        vault.check_not_deleted(&secret.name)?;
        if vault.secrets.contains_key(&key(&secret.name)) {
            return Err(Refusal::exists(&secret.name));
        }
        Ok(vault.put(secret).latest())
    }

    /// Returns a vault without what is to be purged by now.
    fn vault(&mut self, name: &str, now: i64) -> &mut Vault {
        let vault = self.vaults.entry(name.to_owned()).or_default();
        vault.deleted.retain(|_, deleted| deleted.purged_at > now);
        vault
    }
}

impl Vault {
    fn check_not_deleted(&self, name: &str) -> Result<(), Refusal> {
        if self.deleted.contains_key(&key(name)) {
            Err(Refusal::deleted_but_recoverable(name))
        } else {
            Ok(())
        }
    }

    fn put(&mut self, secret: Secret) -> &Secret {
        let key = key(&secret.name);
        self.secrets.entry(key).insert_entry(secret).into_mut()
    }
}

fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::new(Retention {
            days: 7,
            is_protected: false,
        })
    }

    #[test]
    fn a_refused_version_leaves_the_secret_as_it_was() {
        let mut store = store();
        store.set("orders", "db", "one".into(), 1).unwrap();
        let long = "x".repeat(25 * 1024 + 1);
        assert!(store.set("orders", "db", long.into(), 2).is_err());
        let secret = store.get("orders", "db").unwrap();
        assert_eq!(secret.latest().version.value, "one");
    }

    #[test]
    fn names_differ_in_case_for_the_eye_alone() {
        let mut store = store();
        store.set("orders", "Db", "one".into(), 1).unwrap();
        store.set("orders", "dB", "two".into(), 2).unwrap();
        let secret = store.get("orders", "db").unwrap();
        assert_eq!(secret.name, "Db");
        assert_eq!(secret.by_id().len(), 2);
    }

    #[test]
    fn what_is_deleted_is_gone_for_good_when_its_time_is_over() {
        let mut store = store();
        store.set("orders", "db", "one".into(), 0).unwrap();
        store.delete("orders", "db", 0).unwrap();
        let over = 7 * DAY;
        assert!(store.get_deleted("orders", "db", over - 1).is_ok());
        assert!(store.set("orders", "db", "two".into(), over - 1).is_err());
        assert!(store.recover("orders", "db", over).is_err());
        assert!(store.set("orders", "db", "two".into(), over).is_ok());
    }
}
