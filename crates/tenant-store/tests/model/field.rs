//! Filters, sorts and changes in both worlds: as the repository takes them, and as plain Rust.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tenantry_store::conformance::{Specimen, State, Tracked};
use tenantry_store::{Aggregate, Changes, Column, ColumnValue, Filter, Json, Query, Sort};

use super::values;

/// A filter, and what it means.
#[derive(Clone)]
pub(crate) struct Condition<A> {
    text: String,
    pub(crate) filter: Filter<A>,
    pub(crate) holds: Arc<dyn Fn(&A) -> bool + Send + Sync>,
}

impl<A: Aggregate> Condition<A> {
    fn new(
        text: String,
        filter: Filter<A>,
        holds: impl Fn(&A) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            text,
            filter,
            holds: Arc::new(holds),
        }
    }

    pub(crate) fn all() -> Self {
        Self::new("all".to_owned(), Filter::all(), |_| true)
    }

    fn negated(self) -> Self {
        let holds = self.holds;
        Self::new(format!("!{}", self.text), !self.filter, move |row| {
            !holds(row)
        })
    }

    fn and(self, other: Self) -> Self {
        let (left, right) = (self.holds, other.holds);
        let text = format!("({} and {})", self.text, other.text);
        Self::new(text, self.filter.and(other.filter), move |row| {
            left(row) && right(row)
        })
    }

    fn or(self, other: Self) -> Self {
        let (left, right) = (self.holds, other.holds);
        let text = format!("({} or {})", self.text, other.text);
        Self::new(text, self.filter.or(other.filter), move |row| {
            left(row) || right(row)
        })
    }
}

impl<A> fmt::Debug for Condition<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One sort key, and what it means.
#[derive(Clone)]
pub(crate) struct Key<A> {
    column: &'static str,
    sort: Sort<A>,
    descending: bool,
    ascending: Arc<Compare<A>>,
}

type Compare<A> = dyn Fn(&A, &A) -> Ordering + Send + Sync;

/// The sort keys of a query.
#[derive(Clone, Debug)]
pub(crate) struct Order<A>(Vec<Key<A>>);

impl<A: Aggregate<Id: Ord>> Order<A> {
    /// Compares by the keys, then by the identifier in the direction of the last key.
    pub(crate) fn compare(&self, left: &A, right: &A, ties_follow_the_last_key: bool) -> Ordering {
        let mut seen = Vec::new();
        let mut descending = false;
        for key in &self.0 {
            // A column that comes again has nothing more to say.
            if seen.contains(&key.column) {
                continue;
            }
            seen.push(key.column);
            descending = key.descending;
            let ordering = (key.ascending)(left, right);
            let ordering = if descending {
                ordering.reverse()
            } else {
                ordering
            };
            if ordering.is_ne() {
                return ordering;
            }
        }
        let by_id = left.id().cmp(right.id());
        if descending && ties_follow_the_last_key {
            by_id.reverse()
        } else {
            by_id
        }
    }

    pub(crate) fn on(&self, query: Query<A>) -> Query<A> {
        self.0.iter().fold(query, |query, key| query.sort(key.sort))
    }
}

impl<A> Default for Order<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A> fmt::Debug for Key<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.column,
            if self.descending { "desc" } else { "asc" }
        )
    }
}

/// What `update_where` changes, and what becomes of a row; false if the row cannot hold it.
#[derive(Clone)]
pub(crate) struct Change<A> {
    column: &'static str,
    text: String,
    add_to: Arc<dyn Fn(Changes<A>) -> Changes<A> + Send + Sync>,
    pub(crate) apply: Arc<dyn Fn(&mut A) -> bool + Send + Sync>,
}

impl<A> fmt::Debug for Change<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.column, self.text)
    }
}

pub(crate) fn changes_of<A: Aggregate>(all: &[Change<A>]) -> Changes<A> {
    all.iter()
        .fold(Changes::new(), |changes, change| (change.add_to)(changes))
}

/// An aggregate whose every column can be filtered, sorted and changed at random.
pub(crate) trait Fields: Aggregate<Id: Ord> + Clone + fmt::Debug {
    fn fields() -> Vec<Field<Self>>;
    fn changes() -> Vec<BoxedStrategy<Change<Self>>>;
}

pub(crate) struct Field<A> {
    conditions: BoxedStrategy<Condition<A>>,
    /// Both directions; none for JSON.
    keys: Vec<Key<A>>,
}

impl Fields for Specimen {
    fn fields() -> Vec<Field<Self>> {
        let stored = |state: &State| match state {
            State::New => "new",
            State::InProgress => "in_progress",
            State::Done => "done",
        };
        vec![
            field(
                Self::ID,
                |row| Some(row.id),
                |id| id.0,
                values::uuid().prop_map(tenantry_store::conformance::SpecimenId),
            ),
            field(
                Self::LABEL,
                |row| Some(row.label.clone()),
                Clone::clone,
                values::text(),
            ),
            field(
                Self::REMARK,
                |row| row.remark.clone(),
                Clone::clone,
                values::text(),
            ),
            field(
                Self::FLAG,
                |row| Some(row.flag),
                Clone::clone,
                any::<bool>(),
            ),
            field(
                Self::SMALL,
                |row| Some(row.small),
                Clone::clone,
                values::int16(),
            ),
            field(
                Self::MEDIUM,
                |row| Some(row.medium),
                Clone::clone,
                values::int32(),
            ),
            field(
                Self::BIG,
                |row| Some(row.big),
                Clone::clone,
                values::int64(),
            ),
            field(Self::RANK, |row| row.rank, Clone::clone, values::int64()),
            field(
                Self::RATIO,
                |row| Some(row.ratio),
                Clone::clone,
                values::double(),
            ),
            field(
                Self::AMOUNT,
                |row| Some(row.amount),
                Clone::clone,
                values::decimal(),
            ),
            field(
                Self::PAYLOAD,
                |row| Some(row.payload.clone()),
                Clone::clone,
                values::bytes(),
            ),
            field(Self::LINK, |row| row.link, Clone::clone, values::uuid()),
            field(
                Self::SEEN_AT,
                |row| Some(row.seen_at),
                Clone::clone,
                values::time(),
            ),
            field(Self::DUE, |row| row.due, Clone::clone, values::date()),
            field(Self::STATE, |row| Some(row.state), stored, values::state()),
            field(
                Self::VERSION,
                |row| Some(row.version),
                Clone::clone,
                values::version(),
            ),
            Field {
                conditions: equalities_of_notes().boxed(),
                keys: Vec::new(),
            },
            Field {
                conditions: prefixes(Self::LABEL, |row| Some(&*row.label)),
                keys: Vec::new(),
            },
            Field {
                conditions: prefixes(Self::REMARK, |row| row.remark.as_deref()),
                keys: Vec::new(),
            },
        ]
    }

    fn changes() -> Vec<BoxedStrategy<Change<Self>>> {
        vec![
            set(Self::LABEL, |row| &mut row.label, values::text()),
            set(
                Self::REMARK,
                |row| &mut row.remark,
                proptest::option::of(values::text()),
            ),
            set(Self::FLAG, |row| &mut row.flag, any::<bool>()),
            set(
                Self::RANK,
                |row| &mut row.rank,
                proptest::option::of(values::int64()),
            ),
            set(Self::AMOUNT, |row| &mut row.amount, values::decimal()),
            set(Self::PAYLOAD, |row| &mut row.payload, values::bytes()),
            set(
                Self::LINK,
                |row| &mut row.link,
                proptest::option::of(values::uuid()),
            ),
            set(Self::SEEN_AT, |row| &mut row.seen_at, values::time()),
            set(
                Self::DUE,
                |row| &mut row.due,
                proptest::option::of(values::date()),
            ),
            set(Self::STATE, |row| &mut row.state, values::state()),
            change(
                Self::NOTES,
                values::notes(),
                "=",
                |changes, notes| changes.set(Self::NOTES, Json(notes)),
                |row, notes| {
                    row.notes = notes;
                    true
                },
            ),
            change(
                Self::SMALL,
                values::int16(),
                "+=",
                |changes, more| changes.add(Self::SMALL, more),
                |row, more| raise(&mut row.small, |small| small.checked_add(more)),
            ),
            change(
                Self::MEDIUM,
                values::int32(),
                "+=",
                |changes, more| changes.add(Self::MEDIUM, more),
                |row, more| raise(&mut row.medium, |medium| medium.checked_add(more)),
            ),
            change(
                Self::BIG,
                values::int64(),
                "+=",
                |changes, more| changes.add(Self::BIG, more),
                |row, more| raise(&mut row.big, |big| big.checked_add(more)),
            ),
            change(
                Self::RANK,
                values::int64(),
                "+=",
                |changes, more| changes.add(Self::RANK, more),
                |row, more| {
                    row.rank
                        .as_mut()
                        .is_none_or(|rank| raise(rank, |rank| rank.checked_add(more)))
                },
            ),
            change(
                Self::RATIO,
                values::double(),
                "+=",
                |changes, more| changes.add(Self::RATIO, more),
                |row, more| {
                    raise(&mut row.ratio, |ratio| {
                        Some(ratio + more).filter(|sum| sum.is_finite())
                    })
                },
            ),
        ]
    }
}

impl Fields for Tracked {
    fn fields() -> Vec<Field<Self>> {
        vec![
            field(
                Self::ID,
                |row| Some(row.id),
                Clone::clone,
                values::shared_id(),
            ),
            field(
                Self::NAME,
                |row| Some(row.name.clone()),
                Clone::clone,
                values::tracked_name(),
            ),
            field(
                Self::VERSION,
                |row| Some(row.version),
                Clone::clone,
                values::version(),
            ),
        ]
    }

    fn changes() -> Vec<BoxedStrategy<Change<Self>>> {
        vec![set(Self::NAME, |row| &mut row.name, values::tracked_name())]
    }
}

/// Conditions over all columns, nested.
pub(crate) fn condition<A: Fields>() -> impl Strategy<Value = Condition<A>> {
    let columns = A::fields().into_iter().map(|field| field.conditions);
    let one_column = proptest::strategy::Union::new(columns);
    prop_oneof![1 => Just(Condition::all()), 15 => one_column].prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(Condition::negated),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left.and(right)),
            (inner.clone(), inner).prop_map(|(left, right)| left.or(right)),
        ]
    })
}

/// Up to three sort keys, in any direction.
pub(crate) fn order<A: Fields>() -> impl Strategy<Value = Order<A>> {
    let keys: Vec<Key<A>> = A::fields()
        .into_iter()
        .flat_map(|field| field.keys)
        .collect();
    vec(proptest::sample::select(keys), 0..=3).prop_map(Order)
}

/// Changes of one to three different columns.
pub(crate) fn changes<A: Fields>() -> impl Strategy<Value = Vec<Change<A>>> {
    vec(proptest::strategy::Union::new(A::changes()), 1..=3).prop_map(|mut all| {
        all.sort_by_key(|change| change.column);
        all.dedup_by_key(|change| change.column);
        all
    })
}

/// A column with an order: `read` takes its value from the row, `key` is what it is compared by.
fn field<A, T, K>(
    column: Column<A, T>,
    read: fn(&A) -> Option<T::Operand>,
    key: fn(&T::Operand) -> K,
    values: impl Strategy<Value = T::Operand> + Clone + 'static,
) -> Field<A>
where
    A: Aggregate,
    T: ColumnValue<Operand: Clone + fmt::Debug>,
    K: PartialOrd + 'static,
{
    type Build<A, T> = fn(Column<A, T>, <T as ColumnValue>::Operand) -> Filter<A>;
    let name = column.name();
    type Agrees = fn(Option<Ordering>) -> bool;
    let comparisons: [(&str, Build<A, T>, Agrees); 6] = [
        ("==", Column::eq, |found| found == Some(Ordering::Equal)),
        ("!=", Column::ne, |found| found != Some(Ordering::Equal)),
        ("<", Column::lt, |found| found == Some(Ordering::Less)),
        ("<=", Column::le, |found| found.is_some_and(Ordering::is_le)),
        (">", Column::gt, |found| found == Some(Ordering::Greater)),
        (">=", Column::ge, |found| found.is_some_and(Ordering::is_ge)),
    ];
    let compared = move |row: &A, value: &T::Operand| key(&read(row)?).partial_cmp(&key(value));
    let comparison = (
        proptest::sample::select(comparisons.to_vec()),
        values.clone(),
    )
        .prop_map(move |((sign, build, agrees), value)| {
            let filter = build(column, value.clone());
            Condition::new(format!("{name} {sign} {value:?}"), filter, move |row| {
                agrees(compared(row, &value))
            })
        });
    let one_of = vec(values, 0..4).prop_map(move |all| {
        let filter = column.one_of(all.clone());
        Condition::new(format!("{name} in {all:?}"), filter, move |row| {
            all.iter()
                .any(|value| compared(row, value) == Some(Ordering::Equal))
        })
    });
    let null = any::<bool>().prop_map(move |wanted| {
        let filter = if wanted {
            column.is_null()
        } else {
            column.is_not_null()
        };
        Condition::new(format!("{name} is null: {wanted}"), filter, move |row| {
            read(row).is_none() == wanted
        })
    });
    // NULL is the largest.
    let ascending = move |left: &A, right: &A| match (read(left), read(right)) {
        (Some(left), Some(right)) => key(&left).partial_cmp(&key(&right)).unwrap(),
        (left, right) => left.is_none().cmp(&right.is_none()),
    };
    let sort_key = |descending| Key {
        column: name,
        sort: if descending {
            column.desc()
        } else {
            column.asc()
        },
        descending,
        ascending: Arc::new(ascending),
    };
    Field {
        conditions: prop_oneof![6 => comparison, 2 => one_of, 1 => null].boxed(),
        keys: vec![sort_key(false), sort_key(true)],
    }
}

fn prefixes<A, T>(column: Column<A, T>, read: fn(&A) -> Option<&str>) -> BoxedStrategy<Condition<A>>
where
    A: Aggregate,
    T: ColumnValue<Operand = String>,
{
    let name = column.name();
    values::text()
        .prop_map(move |prefix| {
            let filter = column.starts_with(prefix.clone());
            Condition::new(
                format!("{name} starts with {prefix:?}"),
                filter,
                move |row| read(row).is_some_and(|text| text.starts_with(&prefix)),
            )
        })
        .boxed()
}

/// JSON is equal or not, and has no order.
fn equalities_of_notes() -> impl Strategy<Value = Condition<Specimen>> {
    (values::notes(), any::<bool>()).prop_map(|(notes, wanted)| {
        let value = Json(notes.clone());
        let filter = if wanted {
            Specimen::NOTES.eq(value)
        } else {
            Specimen::NOTES.ne(value)
        };
        Condition::new(
            format!("notes == {notes:?}: {wanted}"),
            filter,
            move |row| (row.notes == notes) == wanted,
        )
    })
}

fn set<A, T>(
    column: Column<A, T>,
    place: fn(&mut A) -> &mut T,
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Change<A>>
where
    A: Aggregate,
    T: ColumnValue + Clone + fmt::Debug,
{
    change(
        column,
        values,
        "=",
        move |changes, value| changes.set(column, value),
        move |row, value| {
            *place(row) = value;
            true
        },
    )
}

fn change<A, T, V>(
    column: Column<A, T>,
    values: impl Strategy<Value = V> + 'static,
    sign: &'static str,
    add_to: impl Fn(Changes<A>, V) -> Changes<A> + Copy + Send + Sync + 'static,
    apply: impl Fn(&mut A, V) -> bool + Copy + Send + Sync + 'static,
) -> BoxedStrategy<Change<A>>
where
    A: Aggregate,
    T: ColumnValue,
    V: Clone + fmt::Debug + Send + Sync + 'static,
{
    values
        .prop_map(move |value| {
            let again = value.clone();
            Change {
                column: column.name(),
                text: format!("{sign} {value:?}"),
                add_to: Arc::new(move |changes| add_to(changes, value.clone())),
                apply: Arc::new(move |row| apply(row, again.clone())),
            }
        })
        .boxed()
}

/// Raises a number, if its type holds the sum.
fn raise<T: Copy>(place: &mut T, sum: impl FnOnce(T) -> Option<T>) -> bool {
    let Some(sum) = sum(*place) else { return false };
    *place = sum;
    true
}
