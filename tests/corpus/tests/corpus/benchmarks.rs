//! The statements of public benchmarks.

use super::guard::Guard;
use super::judge::{Databases as _, Statement, judge};
use super::report::Report;
use super::schema::{Schema, TENANTS};
use super::world::World;
use super::{tpcc, tpch};

/// For the page about it; these are short, and among all other tests as well.
#[tokio::test]
#[ignore = "run by scripts/prove"]
async fn prove_statements_of_benchmarks() {
    compare("TPC-H, nations shared", &tpch::SHARED, &tpch::queries()).await;
    compare("TPC-H, nations owned", &tpch::OWNED, &tpch::queries()).await;
    compare("TPC-C", &tpcc::SCHEMA, &tpcc::statements()).await;
}

#[tokio::test]
async fn queries_of_tpch_with_shared_nations() {
    compare("TPC-H, nations shared", &tpch::SHARED, &tpch::queries()).await;
}

#[tokio::test]
async fn queries_of_tpch_with_nations_of_each_tenant() {
    compare("TPC-H, nations owned", &tpch::OWNED, &tpch::queries()).await;
}

#[tokio::test]
async fn statements_of_tpcc() {
    compare("TPC-C", &tpcc::SCHEMA, &tpcc::statements()).await;
}

async fn compare(corpus: &str, schema: &Schema, statements: &[Statement]) {
    let mut world = World::open(schema).await;
    let guard = Guard::of(&world.store).await;
    let mut report = Report::of(corpus);
    for statement in statements {
        let verdict = judge(&mut world, &guard, statement).await;
        report.add(statement, &verdict);
    }
    report.assert_no_mismatch();
    assert_eq!(report.equal(), statements.len(), "{report}");
}

/// A statement that finds no rows would be equal whatever the guard does.
#[tokio::test]
async fn every_statement_of_the_benchmarks_finds_rows_that_differ_by_tenant() {
    let mut useless = Vec::new();
    for (schema, statements) in [
        (&tpch::SHARED, tpch::queries()),
        (&tpch::OWNED, tpch::queries()),
        (&tpcc::SCHEMA, tpcc::statements()),
    ] {
        let mut world = World::open(schema).await;
        for statement in &statements {
            let mut answers = Vec::new();
            for tenant in 0..TENANTS.len() {
                let outcome = world.alone(tenant, statement, true).await.unwrap();
                let rows = &outcome.answer.rows;
                let null = rows.len() == 1 && rows[0].iter().all(Option::is_none);
                if outcome.answer.affected == 0 || null {
                    useless.push(format!("nothing for tenant {tenant}: {}", statement.text));
                }
                answers.push((outcome.answer.rows, outcome.contents));
            }
            if answers[0] == answers[1] || answers[1] == answers[2] {
                useless.push(format!("the same for all: {}", statement.text));
            }
        }
    }
    assert!(useless.is_empty(), "{}", useless.join("\n"));
}
