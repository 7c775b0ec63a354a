//! The judge that runs statements: two tenants on one side, one of them alone on the other.

mod bare;
mod outcome;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod sqlite;

use std::sync::Arc;

use tenantry_store::guard::SqlGuard;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::finding::{Finding, Kind, Verdict};
use outcome::{Failure, Outcome, difference};

#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// Whatever can go wrong before the first statement.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Runs guarded statements as our tenant where another one has rows too, and the originals where
/// ours is alone.
///
/// What the other tenant has are values that no function of our rows makes: they must not be seen,
/// whatever else a statement does.
#[derive(Debug)]
pub struct Sides<G> {
    runtime: Runtime,
    guard: Arc<SqlGuard>,
    ground: G,
    /// The rows of the other tenant, which stay as they are.
    theirs: Vec<String>,
}

/// The databases of both sides.
#[allow(async_fn_in_trait, reason = "nobody else implements it")]
pub trait Ground: Sized {
    /// Opens them, and the store whose guard is judged.
    async fn open() -> Result<(Self, Arc<SqlGuard>), Trouble>;

    /// Says whether a statement leaves to the database what it gives: the number of a row, which is the
    /// table's own and not the tenant's, or any row of several.
    fn is_free(sql: &str) -> bool;

    /// Runs what the guard made of a statement beside the other tenant's rows, and takes it back.
    async fn shared(&mut self, pair: &Pair<'_>) -> Result<Outcome, Failure>;

    /// Runs the original without them, and takes it back.
    async fn alone(&mut self, pair: &Pair<'_>) -> Result<Outcome, Failure>;

    /// Does that once more, with rows stored or scanned in another order.
    async fn otherwise(&mut self, pair: &Pair<'_>, way: usize) -> Result<Outcome, Failure>;
}

/// A statement as both sides get it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'s> {
    written: &'s str,
    rewritten: &'s str,
    arguments: usize,
    binds_tenant: bool,
    writes: bool,
}

impl<G: Ground> Sides<G> {
    /// Opens the databases of both sides, and the store whose guard is judged.
    ///
    /// # Errors
    ///
    /// Whatever the database or the store answer.
    pub fn open() -> Result<Self, Trouble> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut ground, guard) = runtime.block_on(G::open())?;
        let nothing = Pair {
            written: "",
            rewritten: "update a set n = n where false",
            arguments: 0,
            binds_tenant: false,
            writes: true,
        };
        let theirs = runtime.block_on(ground.shared(&nothing))?.theirs;
        Ok(Self {
            runtime,
            guard,
            ground,
            theirs,
        })
    }

    /// Rewrites a statement, and compares what it does on both sides.
    ///
    /// # Errors
    ///
    /// What should not have happened.
    pub fn judge(&mut self, sql: &str) -> Result<Verdict, Box<Finding>> {
        let Ok(statement) = self.guard.rewrite(sql) else {
            return Ok(Verdict::Refused);
        };
        self.compare(&Pair {
            written: sql,
            rewritten: statement.sql(),
            arguments: statement.arguments(),
            binds_tenant: statement.binds_tenant(),
            writes: statement.writes(),
        })
    }

    fn compare(&mut self, pair: &Pair<'_>) -> Result<Verdict, Box<Finding>> {
        if pair.arguments > MOST_ARGUMENTS {
            return Ok(Verdict::Skipped);
        }
        let shared = self.runtime.block_on(self.ground.shared(pair));
        if let Ok(outcome) = &shared {
            // Whatever the statement is, this holds; but who knows their values has not read them.
            let written = pair.written.to_ascii_lowercase();
            let knows = MARKERS.iter().any(|marker| written.contains(marker));
            if let Some(seen) = outcome.shows_theirs(pair.arguments > 1).filter(|_| !knows) {
                return Err(finding(Kind::Leak, pair, &format!("saw: {seen}")));
            }
            if pair.writes && outcome.theirs != self.theirs {
                let details = difference(&self.theirs, &outcome.theirs);
                return Err(finding(Kind::Damage, pair, &details));
            }
        }
        let alone = self.runtime.block_on(self.ground.alone(pair));
        let is_limited =
            |outcome: &Result<Outcome, Failure>| outcome.as_ref().is_err_and(Failure::is_of_limits);
        if is_limited(&shared) || is_limited(&alone) {
            return Ok(Verdict::Skipped);
        }
        let (kind, details) = match (&shared, &alone) {
            (Err(_), Err(_)) => return Ok(Verdict::Failed),
            // The parser forgives more than the database, and what is put in can mend a text:
            // `… from b on conflict …` is none to SQLite without WHERE, and `order by 2` is the
            // tenant where one column is written.
            (_, Err(error)) if error.is_of_text() => return Ok(Verdict::Failed),
            // PostgreSQL 15 takes a value of any type for the condition of MERGE, by its bytes, and
            // nothing but a truth value beside AND.
            (Err(error), Ok(_)) if error.is_of_no_truth() && names(pair.written, &["merge"]) => {
                return Ok(Verdict::Failed);
            }
            (Ok(shared), Ok(alone)) => match shared.differs_from(alone) {
                None => return Ok(Verdict::Agreed),
                Some(details) => (Kind::Meaning, details),
            },
            (Err(error), Ok(alone)) => (
                Kind::Failure,
                format!("alone: {alone:?}\nbeside others: {error}"),
            ),
            (Ok(shared), Err(error)) => (
                Kind::Failure,
                format!("alone: {error}\nbeside others: {shared:?}"),
            ),
        };
        // A sub-query of several rows gives any of them, and one may be a value that does not fit.
        let is_of_a_value = |outcome: &Result<Outcome, Failure>| {
            outcome.as_ref().is_err_and(Failure::is_of_a_value)
        };
        let takes_any =
            has_sub_query(pair.written) && (is_of_a_value(&shared) || is_of_a_value(&alone));
        // Among rows that are alike to its order, a limit takes any, and as many.
        let is_limited_alike = matches!((&shared, &alone), (Ok(shared), Ok(alone))
            if shared.rows.len() == alone.rows.len())
            && names(pair.written, &["limit", "offset", "fetch"]);
        let is_free =
            takes_any || is_limited_alike || G::is_free(pair.written) || is_tied(pair.written);
        match is_free || self.is_undetermined(pair, alone.as_ref().ok()) {
            true => Ok(Verdict::Undetermined),
            false => Err(finding(kind, pair, &details)),
        }
    }

    /// Says whether the original does one thing now and another then where our tenant is alone:
    /// rows of others have no part in that.
    fn is_undetermined(&mut self, pair: &Pair<'_>, first: Option<&Outcome>) -> bool {
        let Self {
            runtime, ground, ..
        } = self;
        (0..WAYS).any(|way| {
            let outcome = runtime.block_on(ground.otherwise(pair, way));
            match (outcome, first) {
                (Ok(outcome), Some(first)) => first.differs_from(&outcome).is_some(),
                (Err(_), None) => false,
                _ => true,
            }
        })
    }
}

/// Says whether one of these words is in a statement.
fn names(sql: &str, words: &[&str]) -> bool {
    sql.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Says whether a statement may pick some of the rows of one tenant by the tenant, which is the same
/// in all of them: then any will do, and an index decides. So it does where a window numbers rows
/// that are alike to it.
fn is_tied(sql: &str) -> bool {
    const PICKS: [&str; 5] = ["limit", "offset", "fetch", "over", "distinct"];
    const NUMBERS: [&str; 8] = [
        "row_number",
        "ntile",
        "lag",
        "lead",
        "first_value",
        "last_value",
        "nth_value",
        "rows",
    ];
    names(sql, &["tenant_id"]) && names(sql, &PICKS)
        || names(sql, &["over"]) && names(sql, &NUMBERS)
}

fn has_sub_query(sql: &str) -> bool {
    let words = sql.split(|character: char| !character.is_alphanumeric());
    words
        .skip(1)
        .any(|word| word.eq_ignore_ascii_case("select"))
}

fn finding(kind: Kind, pair: &Pair<'_>, details: &str) -> Box<Finding> {
    Box::new(Finding {
        kind,
        sql: pair.written.to_owned(),
        rewritten: pair.rewritten.to_owned(),
        details: details.to_owned(),
    })
}

const OURS: Uuid = tenant(0xA1);
const THEIRS: Uuid = tenant(0xB2);

/// In each of their texts, and their numbers: nowhere in ours, and nothing that comes of ours.
const MARKERS: &[&str] = &["theirs", "7700001", "7700002", "7700003", "7700004"];

/// How many arguments statements may take.
const MOST_ARGUMENTS: usize = 64;

/// How often a statement is tried that seems to do one thing here and another there.
const WAYS: usize = 24;

const fn tenant(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair<'s>(written: &'s str, rewritten: &'s str) -> Pair<'s> {
        let verb = written.split(' ').next();
        Pair {
            written,
            rewritten,
            arguments: 0,
            binds_tenant: rewritten.contains("?1"),
            writes: verb != Some("select"),
        }
    }

    fn kind_of(written: &str, rewritten: &str) -> Kind {
        let mut sides = Sides::<Sqlite>::open().unwrap();
        match sides.compare(&pair(written, rewritten)) {
            Ok(verdict) => panic!("{verdict:?}: {rewritten}"),
            Err(finding) => finding.kind,
        }
    }

    #[test]
    fn a_missing_condition_is_a_leak() {
        let leak = |written, rewritten| assert_eq!(kind_of(written, rewritten), Kind::Leak);
        leak("select * from a", "select * from a");
        leak("select t from a limit 1", "select max(t) from a");
        leak(
            "select hex(tenant_id) from b",
            "select hex(tenant_id) from b",
        );
        leak(
            "select a.id, b.t from a left join b on a.id = b.id",
            "select a.id, b.t from a left join b on a.id = b.id where a.tenant_id = ?1",
        );
        leak(
            "update a set t = (select max(t) from b)",
            "update a set t = (select max(t) from b) where a.tenant_id = ?1",
        );
    }

    #[test]
    fn a_count_of_foreign_rows_is_noticed() {
        let other = |written, rewritten| assert_eq!(kind_of(written, rewritten), Kind::Meaning);
        other("select count(*) from a", "select count(*) from a");
        other(
            "select id from a where exists (select 1 from b where b.id = 5)",
            "select id from a where a.tenant_id = ?1 and (exists (select 1 from b where b.id = 5))",
        );
    }

    #[test]
    fn another_tenants_row_that_changes_is_noticed() {
        let damage = |written, rewritten| assert_eq!(kind_of(written, rewritten), Kind::Damage);
        damage("update a set n = 1", "update a set n = 1");
        damage("delete from b", "delete from b");
    }

    #[test]
    fn another_meaning_is_noticed() {
        assert_eq!(
            kind_of(
                "select a.id, b.id from a left join b on a.id = b.id",
                "select a.id, b.id from a left join b on a.id = b.id where a.tenant_id = ?1 and \
                 b.tenant_id = ?1",
            ),
            Kind::Meaning
        );
        assert_eq!(
            kind_of(
                "delete from b where n = 10",
                "delete from b where b.tenant_id = ?1 and n = 20"
            ),
            Kind::Meaning
        );
        assert_eq!(
            kind_of(
                "select id from a",
                "select ident from a where a.tenant_id = ?1"
            ),
            Kind::Failure
        );
    }

    #[test]
    fn what_is_right_agrees() {
        let mut sides = Sides::<Sqlite>::open().unwrap();
        for (sql, expected) in [
            ("select * from a where n = $1", Verdict::Agreed),
            ("delete from b where n = 10 returning *", Verdict::Agreed),
            (
                "insert into a (id, n) values (9, 9) returning *",
                Verdict::Agreed,
            ),
            ("update a set n = n + 1", Verdict::Agreed),
            ("select nothing from a", Verdict::Failed),
            ("select random() from a", Verdict::Undetermined),
            ("select t from a limit 1", Verdict::Agreed),
            // A column that stands for any row of its group.
            (
                "select t, count(*) from a group by parent",
                Verdict::Undetermined,
            ),
            (
                "with recursive t as (select 1 union all select 1 from t) select * from t",
                Verdict::Skipped,
            ),
            ("drop table a", Verdict::Refused),
        ] {
            match sides.judge(sql) {
                Ok(verdict) => assert_eq!(verdict, expected, "{sql}"),
                Err(finding) => panic!("{finding}"),
            }
        }
    }

    /// Each seed is a statement that a service might write, or a trap.
    #[test]
    fn no_seed_is_a_finding() {
        let mut sides = Sides::<Sqlite>::open().unwrap();
        let mut agreed = 0;
        for file in std::fs::read_dir("seeds/sqlite").unwrap() {
            let path = file.unwrap().path();
            let sql = std::fs::read_to_string(&path).unwrap();
            match sides.judge(&sql) {
                Ok(Verdict::Agreed) => agreed += 1,
                Ok(verdict) => println!("{verdict:?}: {sql}"),
                Err(finding) => panic!("{}: {finding}", path.display()),
            }
        }
        assert!(agreed > 50, "{agreed}");
    }
}
