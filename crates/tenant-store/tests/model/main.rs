//! Both backends against a naive model of the contract, on random input.
//!
//! `PROPTEST_CASES` sets how many cases each test tries; 64 without it.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod backends;
mod contract;
mod field;
mod operation;
#[path = "../support/mod.rs"]
mod support;
mod values;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use rust_decimal::Decimal;
use tenantry_store::conformance::{Specimen, Tracked};
use tenantry_store::{Cursor, Deleted, ErrorKind, Page, Query, Repository, Savepoint, UnitOfWork};
use uuid::Uuid;

use backends::{TENANTS, Tenants, check, is_noticed};
use contract::{Contract, RULES, Refusal, Rules, Work};
use field::{Condition, Order, condition, order};
use operation::{Modelled, Operation};

type Checked = Result<(), TestCaseError>;

// Single calls

#[test]
fn calls_answer_as_the_model_does() {
    check(&calls::<Specimen>(), async |tenants, calls| {
        compare_calls(RULES, &tenants, calls).await
    });
}

#[test]
fn calls_with_soft_delete_answer_as_the_model_does() {
    check(&calls::<Tracked>(), async |tenants, calls| {
        compare_calls(RULES, &tenants, calls).await
    });
}

type Calls<A> = Vec<(usize, Operation<A>)>;

fn calls<A: Modelled>() -> impl Strategy<Value = Calls<A>> {
    vec((0..TENANTS, Operation::any()), 1..60)
}

async fn compare_calls<A: Modelled>(rules: Rules, tenants: &Tenants, calls: Calls<A>) -> Checked {
    let mut contract = Contract::new(rules, TENANTS);
    for (tenant, call) in calls {
        let call = call.having_read(|id| contract.version_of(tenant, id));
        let expected = contract.answer(tenant, &call).map_err(Refusal::kind);
        let answer = call.clone().run(&tenants.repository(tenant)).await;
        prop_assert_eq!(
            answer,
            expected,
            "{} answers tenant {} {:?}",
            tenants.backend,
            tenant,
            call
        );
    }
    compare_rows(&contract, tenants).await
}

/// Compares every row of every tenant.
async fn compare_rows<A: Modelled>(contract: &Contract<A>, tenants: &Tenants) -> Checked {
    for tenant in 0..TENANTS {
        for deleted in [Deleted::Exclude, Deleted::Include, Deleted::Only] {
            let query = Query::new().deleted(deleted).limit(Query::<A>::MAX_LIMIT);
            let stored = tenants
                .repository::<A>(tenant)
                .list(query)
                .await
                .unwrap()
                .items;
            let expected = contract.list(tenant, &Condition::all(), &Order::default(), deleted);
            prop_assert_eq!(
                stored,
                expected,
                "{} holds for tenant {}",
                tenants.backend,
                tenant
            );
        }
    }
    Ok(())
}

// Units of work

/// One unit of work after another, each of one tenant.
type Script<A> = Vec<(usize, Vec<Step<A>>, End)>;

#[derive(Debug, Clone)]
enum Step<A: Modelled> {
    Call(Operation<A>),
    /// A read of any tenant outside, which sees what is committed.
    Outside(usize, Operation<A>),
    Savepoint,
    /// To the savepoint with this place among all that were made and not released.
    RollbackTo(usize),
    Release(usize),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Rollback,
    Drop,
}

#[test]
fn units_of_work_answer_as_the_model_does() {
    check(&script::<Specimen>(), async |tenants, script| {
        compare_work(RULES, &tenants, script).await
    });
}

#[test]
fn units_of_work_with_soft_delete_answer_as_the_model_does() {
    check(&script::<Tracked>(), async |tenants, script| {
        compare_work(RULES, &tenants, script).await
    });
}

fn script<A: Modelled>() -> impl Strategy<Value = Script<A>> {
    let step = prop_oneof![
        6 => Operation::any().prop_map(Step::Call),
        1 => (0..TENANTS, Operation::read()).prop_map(|(tenant, read)| Step::Outside(tenant, read)),
        2 => Just(Step::Savepoint),
        1 => (0_usize..4).prop_map(Step::RollbackTo),
        1 => (0_usize..4).prop_map(Step::Release),
    ];
    let end = select(vec![End::Commit, End::Commit, End::Rollback, End::Drop]);
    vec((0..TENANTS, vec(step, 1..12), end), 1..5)
}

async fn compare_work<A: Modelled>(rules: Rules, tenants: &Tenants, script: Script<A>) -> Checked {
    let mut contract = Contract::new(rules, TENANTS);
    for (tenant, steps, end) in script {
        let mut model = Work::begin(&contract, tenant);
        let mut work = tenants.scope(tenant).begin().await.unwrap();
        let mut savepoints = Vec::new();
        for step in steps {
            let text = format!("{}, tenant {tenant}: {step:?}", tenants.backend);
            if let Step::Outside(tenant, read) = step {
                let expected = contract.answer(tenant, &read).map_err(Refusal::kind);
                prop_assert_eq!(
                    read.run(&tenants.repository(tenant)).await,
                    expected,
                    "{}",
                    text
                );
            } else {
                compare_step(step, &mut model, &mut work, &mut savepoints, &text).await?;
            }
        }
        match end {
            End::Commit => {
                let answer = work.commit().await.map_err(|error| error.kind());
                prop_assert_eq!(answer, model.commit(&mut contract));
            }
            End::Rollback => {
                work.rollback().await.unwrap();
                model.rollback(&mut contract);
            }
            End::Drop => {
                drop(work);
                model.rollback(&mut contract);
            }
        }
        compare_rows(&contract, tenants).await?;
    }
    Ok(())
}

async fn compare_step<A: Modelled>(
    step: Step<A>,
    model: &mut Work<A>,
    work: &mut UnitOfWork,
    savepoints: &mut Vec<(usize, Savepoint)>,
    text: &str,
) -> Checked {
    match step {
        Step::Savepoint => {
            let expected = model.savepoint();
            let answer = work.savepoint().await.map_err(|error| error.kind());
            match (answer, expected) {
                (Ok(savepoint), Ok(number)) => savepoints.push((number, savepoint)),
                (answer, expected) => prop_assert_eq!(answer.err(), expected.err(), "{}", text),
            }
        }
        Step::RollbackTo(place) if !savepoints.is_empty() => {
            let (number, savepoint) = &savepoints[place % savepoints.len()];
            let answer = work
                .rollback_to(savepoint)
                .await
                .map_err(|error| error.kind());
            prop_assert_eq!(answer, model.rollback_to(*number), "{}", text);
        }
        Step::Release(place) if !savepoints.is_empty() => {
            let (number, savepoint) = savepoints.remove(place % savepoints.len());
            let answer = work.release(savepoint).await.map_err(|error| error.kind());
            prop_assert_eq!(answer, model.release(number), "{}", text);
        }
        Step::Call(call) => {
            let call = call.having_read(|id| model.version_of(id));
            let expected = model.answer(&call);
            prop_assert_eq!(call.run(&work.repository()).await, expected, "{}", text);
        }
        Step::RollbackTo(_) | Step::Release(_) | Step::Outside(..) => {}
    }
    Ok(())
}

// Values and filters

#[test]
fn every_value_comes_back() {
    check(&specimens(1..8), async |tenants, rows| {
        let repository = tenants.repository::<Specimen>(0);
        let mut written = rows.clone();
        repository.insert_many(&mut written).await.unwrap();
        for (row, before) in written.iter_mut().zip(&rows) {
            compare_exactly(&repository, row, before).await?;
            repository.update(row).await.unwrap();
            compare_exactly(&repository, row, before).await?;
            repository.delete_by_id(&row.id, None).await.unwrap();
            repository.insert(row).await.unwrap();
            compare_exactly(&repository, row, before).await?;
            repository.upsert(row).await.unwrap();
            compare_exactly(&repository, row, before).await?;
        }
        Ok(())
    });
}

/// Compares what `==` does not tell apart as well: the bits of doubles, the scale of decimals.
async fn compare_exactly(
    repository: &dyn Repository<Specimen>,
    row: &Specimen,
    before: &Specimen,
) -> Checked {
    let stored = repository.find(&row.id).await.unwrap().unwrap();
    prop_assert_eq!(&stored, row);
    prop_assert_eq!(&stored, &before.clone().at_version(row.version));
    // Zero is stored without its sign by SQLite, and without its scale by PostgreSQL.
    if row.ratio != 0.0 {
        prop_assert_eq!(stored.ratio.to_bits(), row.ratio.to_bits());
    }
    if row.amount != Decimal::ZERO {
        prop_assert_eq!(stored.amount.scale(), row.amount.scale());
    }
    Ok(())
}

#[test]
fn filters_hold_where_the_model_says() {
    let input = (specimens(1..20), vec(condition(), 1..8));
    check(
        &input,
        async |tenants, (rows, conditions): (Vec<Specimen>, Vec<_>)| {
            let (contract, repository) = filled(RULES, &tenants, &rows).await;
            for condition in conditions {
                let expected = contract.list(0, &condition, &Order::default(), Deleted::Exclude);
                let query = Query::new().filter(condition.filter.clone()).limit(100);
                let found = repository.list(query).await.unwrap().items;
                prop_assert_eq!(
                    &found,
                    &expected,
                    "{} finds {:?}",
                    tenants.backend,
                    condition
                );
                let count = repository.count(condition.filter.clone()).await.unwrap();
                prop_assert_eq!(count, expected.len() as u64);
                let rest = repository.count(!condition.filter).await.unwrap();
                prop_assert_eq!(rest, (rows.len() - expected.len()) as u64);
            }
            Ok(())
        },
    );
}

// Pages

type PagedInput = (
    Vec<Specimen>,
    Condition<Specimen>,
    Order<Specimen>,
    Vec<u32>,
);

#[test]
fn pages_lead_through_the_list_of_the_model() {
    check(&paged_input(), async |tenants, input| {
        compare_pages(RULES, &tenants, input).await
    });
}

fn paged_input() -> impl Strategy<Value = PagedInput> {
    let filter = prop_oneof![2 => Just(Condition::all()), 1 => condition()];
    (specimens(0..25), filter, order(), vec(1_u32..6, 1..6))
}

/// Reads all pages forward to the end, then backward to the start.
async fn compare_pages(rules: Rules, tenants: &Tenants, input: PagedInput) -> Checked {
    let (rows, condition, order, sizes) = input;
    let (contract, repository) = filled(rules, tenants, &rows).await;
    let all = contract.list(0, &condition, &order, Deleted::Exclude);
    let mut sizes = sizes.into_iter().cycle();
    let query = || order.on(Query::new().filter(condition.filter.clone()));

    let mut size = sizes.next().unwrap();
    let mut page = repository.list(query().limit(size)).await.unwrap();
    let mut start = 0;
    loop {
        let end = all.len().min(start + size as usize);
        prop_assert_eq!(
            &page.items,
            &all[start..end],
            "{} from {}",
            tenants.backend,
            start
        );
        prop_assert_eq!(page.previous.is_some(), start > 0);
        prop_assert_eq!(page.next.is_some(), end < all.len());
        let Some(next) = page.next else { break };
        start = end;
        size = sizes.next().unwrap();
        page = repository
            .list(query().limit(size).cursor(next))
            .await
            .unwrap();
    }
    while let Some(previous) = page.previous {
        let end = start;
        size = sizes.next().unwrap();
        start = end.saturating_sub(size as usize);
        page = repository
            .list(query().limit(size).cursor(previous))
            .await
            .unwrap();
        prop_assert_eq!(
            &page.items,
            &all[start..end],
            "{} back to {}",
            tenants.backend,
            start
        );
        prop_assert!(page.next.is_some());
        prop_assert_eq!(page.previous.is_some(), start > 0);
    }
    prop_assert_eq!(start, 0);
    Ok(())
}

/// A cursor goes on behind the sort values it was given at, whatever became of the row.
#[test]
fn cursors_bear_changes_in_between() {
    let changes = || vec((0..1_usize, Operation::<Specimen>::any()), 0..6);
    let input = (
        paged_input(),
        specimens(0..10),
        changes(),
        changes(),
        any::<bool>(),
    );
    check(
        &input,
        async |tenants, (paged, arriving, first, second, remove)| {
            let (rows, condition, order, sizes) = paged;
            let (mut contract, repository) = filled(RULES, &tenants, &rows).await;
            let query = || order.on(Query::new().filter(condition.filter.clone()));
            let page = repository.list(query().limit(sizes[0])).await.unwrap();
            let Some(next) = page.next.clone() else {
                return Ok(());
            };
            let bookmark = page.items.last().unwrap();

            let mut calls: Vec<_> = first.into_iter().map(|(_, call)| call).collect();
            calls.extend(arriving.into_iter().map(Operation::Insert));
            if remove {
                calls.push(Operation::Delete(bookmark.id, None));
            }
            apply(&mut contract, &repository, calls).await?;
            let page = repository
                .list(query().limit(sizes[0]).cursor(next))
                .await
                .unwrap();
            let mut behind = contract.list(0, &condition, &order, Deleted::Exclude);
            behind.retain(|row| order.compare(row, bookmark, true).is_gt());
            prop_assert_eq!(page.next.is_some(), behind.len() > sizes[0] as usize);
            behind.truncate(sizes[0] as usize);
            prop_assert_eq!(
                &page.items,
                &behind,
                "{} behind {:?}",
                tenants.backend,
                bookmark
            );

            let Some(previous) = page.previous.clone() else {
                return Ok(());
            };
            // The way back from an empty page begins at the cursor itself.
            let (bookmark, inclusive) = match page.items.first() {
                Some(first) => (first, false),
                None => (bookmark, true),
            };
            apply(
                &mut contract,
                &repository,
                second.into_iter().map(|(_, call)| call),
            )
            .await?;
            let page = repository
                .list(query().limit(3).cursor(previous))
                .await
                .unwrap();
            let mut before = contract.list(0, &condition, &order, Deleted::Exclude);
            before.retain(|row| {
                let place = order.compare(row, bookmark, true);
                place.is_lt() || inclusive && place.is_eq()
            });
            before.drain(..before.len().saturating_sub(3));
            prop_assert_eq!(
                &page.items,
                &before,
                "{} before {:?}",
                tenants.backend,
                bookmark
            );
            Ok(())
        },
    );
}

#[test]
fn altered_cursors_are_refused() {
    let alphabet = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['-', '_', '=', '+', ' ', 'é']);
    let alphabet: Vec<char> = alphabet.collect();
    let edit = (any::<proptest::sample::Index>(), select(alphabet), 0..3_u8);
    let input = (specimens(3..6), order(), vec(edit, 1..8));
    check(&input, async |tenants, (rows, order, edits)| {
        let (_, repository) = filled(RULES, &tenants, &rows).await;
        let query = || order.on(Query::new().limit(1));
        let page = repository.list(query()).await.unwrap();
        let cursor = page.next.unwrap();
        for (place, character, kind) in edits {
            let mut text: Vec<char> = cursor.as_str().chars().collect();
            let place = place.index(text.len());
            match kind {
                0 => text[place] = character,
                1 => text.insert(place, character),
                _ => drop(text.remove(place)),
            }
            let altered = Cursor::new(text.into_iter().collect::<String>());
            let answer = repository.list(query().cursor(altered.clone())).await;
            if altered == cursor {
                prop_assert!(answer.is_ok());
            } else {
                let kind = answer.map_err(|error| error.kind());
                prop_assert_eq!(
                    kind.map(|page: Page<_>| page.items),
                    Err(ErrorKind::InvalidCursor)
                );
            }
        }
        Ok(())
    });
}

// The comparison itself

#[test]
fn a_wrong_rule_is_noticed() {
    let shared = Rules {
        identifiers_are_of_a_tenant: false,
        ..RULES
    };
    assert!(is_noticed(&calls::<Specimen>(), async |tenants, calls| {
        compare_calls(shared, &tenants, calls).await
    }));
    let last_wins = Rules {
        stale_writes_conflict: false,
        ..RULES
    };
    assert!(is_noticed(&calls::<Specimen>(), async |tenants, calls| {
        compare_calls(last_wins, &tenants, calls).await
    }));
    let shown = Rules {
        marked_rows_are_hidden: false,
        ..RULES
    };
    assert!(is_noticed(&calls::<Tracked>(), async |tenants, calls| {
        compare_calls(shown, &tenants, calls).await
    }));
    let kept = Rules {
        rollback_gives_up: false,
        ..RULES
    };
    assert!(is_noticed(
        &script::<Specimen>(),
        async |tenants, script| { compare_work(kept, &tenants, script).await }
    ));
    let tied = Rules {
        ties_follow_the_last_key: false,
        ..RULES
    };
    assert!(is_noticed(&paged_input(), async |tenants, input| {
        compare_pages(tied, &tenants, input).await
    }));
    assert!(!is_noticed(&Just(()), async |_, ()| Ok(())));
}

/// Specimens with different identifiers.
fn specimens(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Specimen>> {
    btree_map(any::<u128>(), values::specimen(Just(Uuid::nil())), count).prop_map(|rows| {
        let rows = rows.into_iter();
        rows.map(|(id, row)| Specimen {
            id: tenantry_store::conformance::SpecimenId(Uuid::from_u128(id)),
            ..row
        })
        .collect()
    })
}

/// Stores rows of the first tenant in the model and in the database.
async fn filled(
    rules: Rules,
    tenants: &Tenants,
    rows: &[Specimen],
) -> (Contract<Specimen>, impl Repository<Specimen> + use<>) {
    let mut contract = Contract::new(rules, TENANTS);
    let repository = tenants.repository::<Specimen>(0);
    if !rows.is_empty() {
        contract
            .answer(0, &Operation::InsertMany(rows.to_vec()))
            .unwrap();
        repository.insert_many(&mut rows.to_vec()).await.unwrap();
    }
    (contract, repository)
}

async fn apply(
    contract: &mut Contract<Specimen>,
    repository: &dyn Repository<Specimen>,
    calls: impl IntoIterator<Item = Operation<Specimen>>,
) -> Checked {
    for call in calls {
        let call = call.having_read(|id| contract.version_of(0, id));
        let expected = contract.answer(0, &call).map_err(Refusal::kind);
        prop_assert_eq!(call.clone().run(repository).await, expected, "{:?}", call);
    }
    Ok(())
}
