//! The simulator against one that looks at the clock every hour, and documents there and back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::LockMode;

const HOURS: i64 = 24;

/// Looks every hour at what is due then, and does the cheapest.
fn hourly(
    rules: &[LifecycleRule],
    blob: &LifecycleBlob,
    now: DateTime<Utc>,
) -> Vec<(StepAction, DateTime<Utc>)> {
    let mut done = Vec::new();
    let (mut tier, mut moved) = (blob.tier, blob.tier_changed_at.unwrap_or(blob.created_at));
    for hour in 0..40 * HOURS {
        let at = now + Duration::hours(hour);
        let is_older = |basis: DateTime<Utc>, days: u32| at - basis >= Duration::days(days.into());
        let mut cheapest = None;
        for rule in rules.iter().filter(|rule| rule.is_enabled()) {
            let filter = rule.filter();
            let is_in = filter.prefixes().is_empty()
                || filter
                    .prefixes()
                    .iter()
                    .any(|it| blob.path.starts_with(it.as_str()));
            let has = |(name, value): &(String, String)| blob.tags.get(name) == Some(value);
            if !is_in || !filter.tags().iter().all(has) {
                continue;
            }
            let actions = rule.actions(blob.part);
            let tiers = [Tier::Cool, Tier::Cold, Tier::Archive]
                .map(|tier| (StepAction::MoveTo(tier), actions.tier(tier)));
            for (action, age) in tiers
                .into_iter()
                .chain([(StepAction::Delete, actions.delete())])
            {
                let Some(age) = age else { continue };
                let basis = match age.basis() {
                    AgeBasis::Creation => blob.created_at,
                    AgeBasis::Modification => blob.modified_at,
                    AgeBasis::LastAccess => blob.accessed_at.unwrap_or(blob.created_at),
                };
                let is_due = is_older(basis, age.days())
                    && age
                        .since_tier_change()
                        .is_none_or(|days| is_older(moved, days));
                let is_let = match action {
                    StepAction::MoveTo(Tier::Archive) => tier < Tier::Archive && !blob.is_scoped,
                    StepAction::MoveTo(to) => tier < to,
                    StepAction::Delete => {
                        let retention = blob.retention.as_ref();
                        let is_locked =
                            retention.is_some_and(|it| it.lock.is_some() && it.until.unwrap() > at);
                        !is_locked && !blob.is_in_immutable_container
                    }
                };
                if is_due && is_let {
                    cheapest = cheapest.max(Some(action));
                }
            }
        }
        match cheapest {
            Some(StepAction::MoveTo(to)) => (tier, moved) = (to, at),
            Some(StepAction::Delete) => {
                done.push((StepAction::Delete, at));
                return done;
            }
            None => continue,
        }
        done.extend(cheapest.map(|action| (action, at)));
    }
    done
}

fn ages() -> impl Strategy<Value = LifecycleAge> {
    let bases = [
        AgeBasis::Creation,
        AgeBasis::Modification,
        AgeBasis::LastAccess,
    ];
    let since = proptest::option::of(0_u32..5);
    (proptest::sample::select(bases.to_vec()), 0_u32..12, since).prop_map(|(basis, days, since)| {
        let age = LifecycleAge::new(basis, days);
        since.map_or(age, |days| age.and_since_tier_change(days))
    })
}

fn actions() -> impl Strategy<Value = LifecycleActions> {
    let one = || proptest::option::of(ages());
    (one(), one(), one(), one(), any::<bool>()).prop_map(|(cool, cold, archive, delete, hot)| {
        let mut actions = LifecycleActions::none();
        for (tier, age) in [
            (Tier::Cool, cool),
            (Tier::Cold, cold),
            (Tier::Archive, archive),
        ] {
            if let Some(age) = age {
                actions = actions.with_tier(tier, age);
            }
        }
        actions.delete = delete;
        actions.is_hot_again = hot;
        actions
    })
}

fn filters() -> impl Strategy<Value = LifecycleFilter> {
    let prefixes = proptest::sample::subsequence(vec!["abc/", "abc/x", "abd/"], 0..=2);
    let tags = proptest::sample::subsequence(vec![("a", "1"), ("b", "2")], 0..=2);
    (prefixes, tags, any::<bool>()).prop_map(|(prefixes, tags, appended)| {
        let mut filter = LifecycleFilter::all();
        filter.has_append_blobs = appended;
        for prefix in prefixes {
            filter = filter.with_prefix(prefix);
        }
        tags.into_iter()
            .fold(filter, |filter, (name, value)| filter.with_tag(name, value))
    })
}

fn rules() -> impl Strategy<Value = Vec<LifecycleRule>> {
    let rule = (
        filters(),
        actions(),
        actions(),
        proptest::bool::weighted(0.9),
    );
    proptest::collection::vec(rule, 1..4).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        let named = rules.map(|(number, (filter, base, versions, is_enabled))| {
            let mut rule = LifecycleRule::new(format!("r{number}")).with_filter(filter);
            rule.is_enabled = is_enabled;
            rule.with_base(base).with_versions(versions)
        });
        named.collect()
    })
}

fn blobs() -> impl Strategy<Value = LifecycleBlob> {
    let tier = proptest::sample::select(vec![
        Tier::Hot,
        Tier::Hot,
        Tier::Cool,
        Tier::Cold,
        Tier::Archive,
    ]);
    let hour = || 0_i64..15 * HOURS;
    let times = (
        hour(),
        hour(),
        proptest::option::of(hour()),
        proptest::option::of(hour()),
    );
    let lock = proptest::option::of(1_i64..30 * HOURS);
    let tags = proptest::sample::subsequence(vec![("a", "1"), ("b", "2"), ("b", "3")], 0..=3);
    let flags = (proptest::bool::weighted(0.1), any::<bool>(), any::<bool>());
    (tier, times, lock, tags, flags).prop_map(|(tier, times, lock, tags, flags)| {
        let (age, since, accessed, moved) = times;
        let (is_contained, is_scoped, is_version) = flags;
        let created = day(0) - Duration::hours(age);
        let later = |hours: i64| created + Duration::hours(hours.min(age));
        let mut blob = LifecycleBlob::new("abc/x1", created);
        blob.modified_at = later(since);
        blob.accessed_at = accessed.map(later);
        blob.tier_changed_at = moved.map(later);
        blob.tier = tier;
        blob.is_in_immutable_container = is_contained;
        blob.is_scoped = is_scoped;
        if is_version {
            blob.part = BlobPart::Version;
        }
        let tags = tags.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned()));
        blob.tags = tags.collect::<BTreeMap<_, _>>();
        blob.retention = lock.map(|hours| {
            let until = created + Duration::hours(hours);
            let mut state = Retention::until(until).resolve(created).unwrap();
            state.lock = Some(LockMode::Locked);
            state
        });
        blob
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_simulator_does_what_looking_every_hour_does(rules in rules(), blob in blobs()) {
        let policy = LifecyclePolicy::of(rules.clone());
        let forecast = LifecycleSimulator::new(&policy, day(0)).forecast(&blob);
        let steps: Vec<_> = forecast.steps.iter().map(|step| (step.action, step.from)).collect();
        prop_assert_eq!(steps, hourly(&rules, &blob, day(0)));
    }

    #[test]
    fn a_document_is_read_as_it_was_written(rules in rules()) {
        let policy = LifecyclePolicy::of(rules.clone());
        let text = policy.to_json().to_string();
        let read = LifecyclePolicy::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        let known: Vec<_> = read.rules().iter().map(|it| it.rule().unwrap().clone()).collect();
        prop_assert_eq!(known, rules);
        prop_assert_eq!(read.to_json(), policy.to_json());
    }

    /// Any JSON in a rule is read or refused, and never lost.
    #[test]
    fn a_rule_with_something_else_in_it_is_kept(
        rules in rules(),
        name in "[a-zA-Z]{1,12}",
        at in proptest::sample::select(vec!["", "/definition", "/definition/filters", "/definition/actions"]),
    ) {
        let mut document = LifecyclePolicy::of(rules).to_json();
        let rule = document.pointer_mut(&format!("/rules/0{at}")).unwrap();
        rule[name.as_str()] = serde_json::json!({"x": 1});
        if let Ok(read) = LifecyclePolicy::from_json(&document) {
            prop_assert_eq!(read.to_json(), document);
            prop_assert!(read.rules()[0].rule().is_err());
        }
    }
}
