//! What one client says, and what its transaction makes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::catalog::{Catalog, Database};
use super::frontend::{Arguments, Message};
use super::ledger::Run;
use super::library::Book;
use super::reading::{Control, Sentence};
use super::verdict::{Fault, Verdict, tenant};
use super::{Shared, WALL_TWO_ALONE};
use crate::Result;

/// One connection, seen from the side of the client.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    database: Arc<Database>,
    role: String,
    is_alone: bool,
    /// The role may work across tenants. Once known it stays.
    is_unbound: bool,
    prepared: HashMap<Vec<u8>, Arc<Book>>,
    transaction: Transaction,
    /// Something was sent that may change the catalog, and its transaction is not over.
    is_changing: Arc<AtomicBool>,
}

/// What is known of the present transaction.
#[derive(Debug, Default)]
struct Transaction {
    /// It was begun, as opposed to one statement's own.
    is_open: bool,
    tenant: Option<Uuid>,
    savepoints: Vec<(String, Option<Uuid>)>,
}

impl Transaction {
    fn control(&mut self, control: &Control) {
        match control {
            Control::Begin if self.is_open => {}
            Control::Begin => {
                self.is_open = true;
            }
            Control::End { chain } => {
                *self = Self {
                    is_open: *chain && self.is_open,
                    ..Self::default()
                };
            }
            Control::Savepoint(name) => self.savepoints.push((name.clone(), self.tenant)),
            Control::RollbackTo(name) => {
                let mut savepoints = self.savepoints.iter();
                if let Some(index) = savepoints.rposition(|(other, _)| other == name) {
                    // What was set since then is undone; the savepoint itself stays.
                    self.tenant = self.savepoints[index].1;
                    self.savepoints.truncate(index + 1);
                }
            }
        }
    }

    /// What was sent without a transaction of its own was one.
    fn sync(&mut self) {
        if !self.is_open {
            *self = Self::default();
        }
    }
}

impl Conversation {
    pub(super) fn new(
        shared: Arc<Shared>,
        database: Arc<Database>,
        role: String,
        is_alone: bool,
    ) -> Self {
        Self {
            is_unbound: role == shared.catalogs.superuser(),
            shared,
            database,
            role,
            is_alone,
            prepared: HashMap::new(),
            transaction: Transaction::default(),
            is_changing: Arc::default(),
        }
    }

    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database)
    }

    /// Returns whether answers may tell of a change of the catalog.
    pub(super) fn is_changing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_changing)
    }

    /// Takes note of a message before the server gets the end of it.
    pub(super) async fn hear(&mut self, message: Message) {
        match message {
            Message::Query(text) => {
                let book = self.shared.library.book(text).await;
                self.run(&book, None).await;
                self.transaction.sync();
            }
            Message::Parse { name, text } => {
                let book = self.shared.library.book(text).await;
                self.prepared.insert(name, book);
            }
            Message::Bind {
                statement,
                arguments,
            } => {
                // One that is not known is not known to the server either.
                if let Some(book) = self.prepared.get(&statement).map(Arc::clone) {
                    self.run(&book, Some(&arguments)).await;
                }
            }
            Message::Close { statement } => {
                self.prepared.remove(&statement);
            }
            Message::Sync => self.transaction.sync(),
        }
    }

    async fn run(&mut self, book: &Book, arguments: Option<&Arguments>) {
        let reading = &book.reading;
        if reading.changes {
            self.is_changing.store(true, Ordering::SeqCst);
            self.database.changed();
            if reading.changes_databases {
                self.shared.catalogs.changed();
            }
        } else if !self.transaction.is_open {
            self.is_changing.store(false, Ordering::SeqCst);
        }
        let (shared, database) = (Arc::clone(&self.shared), Arc::clone(&self.database));
        let role = self.role.clone();
        let mut run = Run {
            shape: &reading.shape,
            database: database.name(),
            role: &role,
            is_alone: self.is_alone,
        };
        for (place, sentence) in reading.sentences.iter().enumerate() {
            if let Some(name) = &sentence.application_name {
                // A pooler hands the name of its client on so.
                self.is_alone = name == WALL_TWO_ALONE;
                run.is_alone = self.is_alone;
            }
            shared.ledger.seen(&run);
            if let Some(control) = &sentence.control {
                self.transaction.control(control);
            }
            let mut faults = self.set_tenant(sentence, arguments);
            let is_harmless = faults.is_empty() && !sentence.may_touch_tables();
            if self.is_unbound || is_harmless {
                continue;
            }
            let mut is_on_tenants = !faults.is_empty();
            match self.verdict((book.number, place), sentence).await {
                Ok(None) => continue,
                Ok(Some(verdict)) => {
                    is_on_tenants |= verdict.is_on_tenants;
                    faults.extend(self.judge(&verdict, arguments));
                }
                Err(error) if sentence.obscure.is_some() || sentence.tables().next().is_some() => {
                    is_on_tenants = true;
                    faults.push(Fault {
                        table: "?".to_owned(),
                        reason: format!("{error:?}"),
                    });
                }
                Err(_) => {}
            }
            if is_on_tenants {
                shared.ledger.on_tenants(&run, faults.is_empty());
            }
            if !self.is_alone {
                faults.sort_unstable();
                faults.dedup();
                for Fault { table, reason } in &faults {
                    shared.ledger.violation(&run, table, reason);
                }
            }
        }
    }

    /// Takes note of the tenant that a statement sets.
    fn set_tenant(&mut self, sentence: &Sentence, arguments: Option<&Arguments>) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |reason: &str| {
            faults.push(Fault {
                table: "?".to_owned(),
                reason: reason.to_owned(),
            });
        };
        for setting in &sentence.settings {
            let tenant = tenant(&setting.value, arguments);
            if !setting.is_local {
                fault(
                    "it sets a tenant that outlives the transaction: who borrows the connection next inherits it",
                );
                continue;
            }
            if tenant.is_some()
                && self
                    .transaction
                    .tenant
                    .is_some_and(|had| Some(had) != tenant)
            {
                fault("it sets another tenant in a transaction that has one");
            }
            self.transaction.tenant = tenant;
        }
        faults
    }

    /// Finds what the text says of tenants; `None` if the role may work across them.
    async fn verdict(
        &mut self,
        key: (u64, usize),
        sentence: &Sentence,
    ) -> Result<Option<Arc<Verdict>>> {
        let find = |catalog: &Catalog| {
            let verdicts = &catalog.verdicts;
            verdicts.get_or_find(key, || Verdict::of(sentence, catalog))
        };
        let mut catalog = self.database.catalog().await?;
        let mut verdict = find(&catalog);
        if verdict.has_unknown {
            self.database.changed();
            catalog = self.database.catalog().await?;
            verdict = find(&catalog);
        }
        self.is_unbound = catalog.is_unbound(&self.role);
        Ok((!self.is_unbound).then_some(verdict))
    }

    /// Compares the arguments with the tenant of the transaction.
    fn judge(&self, verdict: &Verdict, arguments: Option<&Arguments>) -> Vec<Fault> {
        let mut faults = verdict.faults.clone();
        for (table, number) in &verdict.parameters {
            let bound = tenant(&super::reading::Operand::Parameter(*number), arguments);
            let reason = match (bound, self.transaction.tenant) {
                (Some(bound), Some(tenant)) if bound == tenant => continue,
                (None, _) => format!("${number} is no tenant"),
                (Some(_), None) => "its transaction has no tenant".to_owned(),
                (Some(_), Some(_)) => {
                    format!("${number} is another tenant than that of the transaction")
                }
            };
            faults.push(Fault {
                table: table.clone(),
                reason,
            });
        }
        faults
    }
}
