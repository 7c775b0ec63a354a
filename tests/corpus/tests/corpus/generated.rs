//! Generated statements on both backends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::files::Files;
use super::grammar::{Dialect, constructs, statement};
use super::guard::Guard;
use super::judge::{Databases, Statement, Verdict, judge};
use super::report::Report;
use super::world::World;
use super::zoo;

/// How long statements are tried among all other tests.
const SHORT: Duration = Duration::from_secs(8);

/// How many statements are looked at for whether they run.
const TRIED: usize = 2_000;

#[tokio::test]
async fn generated_statements_on_postgres() {
    on_postgres(SHORT, 1).await;
}

#[tokio::test]
async fn generated_statements_on_sqlite() {
    on_sqlite(SHORT, 1).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/prove"]
async fn prove_generated_statements_on_postgres() {
    on_postgres(super::long(), any_seed()).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/prove"]
async fn prove_generated_statements_on_sqlite() {
    on_sqlite(super::long(), any_seed()).await;
}

fn any_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

async fn on_postgres(length: Duration, seed: u64) {
    let mut world = World::open(&zoo::ON_POSTGRES).await;
    let guard = Guard::of(&world.store).await;
    compare(
        "generated on PostgreSQL",
        &mut world,
        &guard,
        Dialect::Postgres,
        length,
        seed,
    )
    .await;
}

async fn on_sqlite(length: Duration, seed: u64) {
    let mut files = Files::open(&zoo::ON_SQLITE).await;
    let guard = Guard::of(&files.store).await;
    compare(
        "generated on SQLite",
        &mut files,
        &guard,
        Dialect::Sqlite,
        length,
        seed,
    )
    .await;
}

async fn compare(
    corpus: &str,
    databases: &mut impl Databases,
    guard: &Guard,
    dialect: Dialect,
    length: Duration,
    seed: u64,
) {
    let mut report = Report::of(corpus);
    let mut seen: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut runner = runner(seed);
    let end = Instant::now() + length;
    while Instant::now() < end {
        let mut tree = numbers().new_tree(&mut runner).unwrap();
        let mut tried = statement(dialect, &tree.current());
        let mut verdict = judge(databases, guard, &tried).await;
        for construct in constructs(&tried.text) {
            let [equal, refused] = seen.entry(construct).or_default();
            *equal += usize::from(matches!(verdict, Verdict::Equal { .. }));
            *refused += usize::from(matches!(verdict, Verdict::Refused(_)));
        }
        if let Verdict::Mismatch(first) = &verdict {
            // The smallest statement that shows the same fault.
            let kind = first.kind;
            let patience = Instant::now() + Duration::from_secs(3);
            let mut simpler = tree.simplify();
            while simpler && Instant::now() < patience {
                let smaller = statement(dialect, &tree.current());
                let again = judge(databases, guard, &smaller).await;
                simpler = match &again {
                    Verdict::Mismatch(mismatch) if mismatch.kind == kind => {
                        (tried, verdict) = (smaller, again);
                        tree.simplify()
                    }
                    _ => tree.complicate(),
                };
            }
        }
        report.add(&tried, &verdict);
    }
    let seen = seen
        .iter()
        .map(|(construct, [equal, refused])| format!("{construct}: {equal}+{refused}"));
    println!("seed {seed}");
    println!(
        "constructs in equal and in refused statements: {}",
        seen.collect::<Vec<_>>().join(", ")
    );
    report.assert_no_mismatch();
}

pub(crate) fn numbers() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 10..400)
}

pub(crate) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

/// What does not run says nothing of the guard.
#[tokio::test]
async fn most_generated_statements_run_on_postgres() {
    let mut world = World::open(&zoo::ON_POSTGRES).await;
    try_alone(&mut world, Dialect::Postgres).await;
}

#[tokio::test]
async fn most_generated_statements_run_on_sqlite() {
    let mut files = Files::open(&zoo::ON_SQLITE).await;
    try_alone(&mut files, Dialect::Sqlite).await;
}

async fn try_alone(databases: &mut impl Databases, dialect: Dialect) {
    let mut runner = runner(2);
    let mut failed: BTreeMap<String, (usize, Statement)> = BTreeMap::new();
    let (mut ran, mut with_rows) = (0, 0);
    for _ in 0..TRIED {
        let numbers = numbers().new_tree(&mut runner).unwrap().current();
        let statement = statement(dialect, &numbers);
        match databases.alone(0, &statement, false).await {
            Ok(outcome) => {
                ran += 1;
                let answer = &outcome.answer;
                with_rows += usize::from(answer.affected > 0 || !answer.rows.is_empty());
            }
            Err(failure) => {
                let what = format!("{} {}", failure.code, failure.message);
                let (count, shortest) =
                    failed.entry(what).or_insert_with(|| (0, statement.clone()));
                *count += 1;
                if statement.text.len() < shortest.text.len() {
                    *shortest = statement;
                }
            }
        }
    }
    let mut failed: Vec<_> = failed.into_iter().collect();
    failed.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    println!("{ran} of {TRIED} run, {with_rows} with rows");
    for (what, (count, statement)) in failed.iter().take(12) {
        println!("{count:>5} {what}\n      {}", statement.text);
    }
    assert!(
        ran > TRIED * 8 / 10 && with_rows > TRIED / 2,
        "{ran} of {TRIED} run"
    );
}
