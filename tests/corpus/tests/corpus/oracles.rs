//! The judges find the faults that they are there for.

use super::judge::{Kind, Mismatch, Statement, Verdict, judge};
use super::rewriter::ByHand;
use super::world::World;
use super::zoo;

/// What the judges say of a rewriting.
async fn verdict(statement: &str, rewritten: &str) -> Verdict {
    verdict_with(statement, rewritten, &[]).await
}

async fn verdict_with(statement: &str, rewritten: &str, arguments: &[&str]) -> Verdict {
    let mut world = World::open(&zoo::ON_POSTGRES).await;
    let rewriter = ByHand::default().with(statement, rewritten, arguments.len());
    let mut statement = Statement::new(statement);
    statement.arguments = arguments
        .iter()
        .map(|&text| Some(text.to_owned()))
        .collect();
    judge(&mut world, &rewriter, &statement).await
}

fn kind(verdict: Verdict) -> Kind {
    match verdict {
        Verdict::Mismatch(Mismatch { kind, .. }) => kind,
        other => panic!("not noticed: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_right_passes() {
    for (statement, rewritten, arguments) in [
        (
            "select name from people",
            "select name from people where tenant_id = $1",
            &[][..],
        ),
        (
            "select p.name, o.total from people p left join orders o on o.person_id = p.id where p.id > $1",
            "select p.name, o.total from people p left join orders o on (o.person_id = p.id) and o.tenant_id = $2 \
             where (p.id > $1) and p.tenant_id = $2",
            &["2"],
        ),
        (
            "update orders set state = 'paid' where id = 2 returning *",
            "update orders set state = 'paid' where (id = 2) and tenant_id = $1 returning *",
            &[],
        ),
        (
            "insert into notes (id, name) values (77, 'new')",
            "insert into notes (tenant_id, id, name) values ($1, 77, 'new')",
            &[],
        ),
        (
            "select name from colours order by id",
            "select name from colours order by id",
            &[],
        ),
    ] {
        let verdict = verdict_with(statement, rewritten, arguments).await;
        assert!(
            matches!(verdict, Verdict::Equal { rows } if rows > 0),
            "{statement}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_statement_without_a_tenant_is_noticed() {
    let text = "select name from people";
    assert_eq!(kind(verdict(text, text).await), Kind::Plan);
}

#[tokio::test]
async fn a_side_of_a_join_without_a_tenant_is_noticed() {
    let text = "select p.id from people p join orders o on o.person_id = p.id";
    let half = format!("{text} where p.tenant_id = $1");
    assert_eq!(kind(verdict(text, &half).await), Kind::Plan);
}

/// The plan is right whatever the rows are; here no row of another tenant could be seen.
#[tokio::test]
async fn a_scan_whose_rows_do_not_show_is_noticed() {
    let text = "select order_id from items where false";
    assert!(
        matches!(verdict(text, text).await, Verdict::Equal { .. }),
        "the planner leaves it out"
    );
    let text = "select count(*) from (select from items limit 1) x";
    assert_eq!(kind(verdict(text, text).await), Kind::Plan);
}

#[tokio::test]
async fn a_disjunction_is_no_condition() {
    let text = "select id from people where id = 1 or id = 2";
    let loose = "select id from people where id = 1 or id = 2 and tenant_id = $1";
    assert_eq!(kind(verdict(text, loose).await), Kind::Plan);
}

#[tokio::test]
async fn an_outer_join_that_became_an_inner_one_is_noticed() {
    let text =
        "select p.id, o.id from people p left join orders o on o.person_id = p.id and o.id > 3";
    let inner = format!("{text} where p.tenant_id = $1 and o.tenant_id = $1");
    assert_eq!(kind(verdict(text, &inner).await), Kind::Result);
}

#[tokio::test]
async fn a_write_to_another_tenant_is_noticed() {
    let text = "with gone as (delete from notes where id = 1) select 1";
    let loose = "with gone as (delete from notes where id = 1 and tenant_id <> $1) select 1";
    assert_eq!(kind(verdict(text, loose).await), Kind::Plan);
    let text = "insert into notes (id, name) values (77, 'new')";
    let given = "insert into notes (tenant_id, id, name) \
                 select 'aaaaaaaa-0000-4000-8000-000000000001', 77, 'new' where $1::uuid is not null";
    assert_eq!(kind(verdict(text, given).await), Kind::ForeignWrite);
}

#[tokio::test]
async fn another_write_than_was_asked_for_is_noticed() {
    let text = "update orders set state = 'paid' where id = 2";
    let other = "update orders set state = 'void' where id = 2 and tenant_id = $1";
    assert_eq!(kind(verdict(text, other).await), Kind::Contents);
}

#[tokio::test]
async fn a_text_that_became_wrong_is_noticed() {
    let text = "select name from people p";
    assert_eq!(
        kind(
            verdict(
                text,
                "select name from people p where people.tenant_id = $1"
            )
            .await
        ),
        Kind::Fails
    );
    let text = "select nothing from people";
    assert_eq!(
        kind(verdict(text, "select name from people where tenant_id = $1").await),
        Kind::Succeeds
    );
}

#[tokio::test]
async fn null_is_not_the_empty_text() {
    let text = "select name from people";
    let other = "select coalesce(name, '') from people where tenant_id = $1";
    assert_eq!(kind(verdict(text, other).await), Kind::Result);
}
