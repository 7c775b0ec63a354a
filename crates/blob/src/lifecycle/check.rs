//! What the service refuses, and what it takes and does not do.

use crate::record::Tier;

use super::fault::LifecycleProblem as Problem;
use super::rule::{
    AgeBasis, BlobPart, LifecycleActions, LifecycleAge, LifecycleFilter, LifecycleRule,
};

/// How many rules an account has.
pub(super) const RULES: usize = 100;
/// How many prefixes, and how many tags, a rule has.
const FILTERS: usize = 10;
const OLDEST: u32 = 99_999;
pub(super) const LONGEST_NAME: usize = 256;

pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// Returns what is wrong with a rule by itself.
pub(super) fn problems(rule: &LifecycleRule, are_scoped: bool) -> Vec<Problem> {
    let mut found = Vec::new();
    check_filter(&rule.filter, &mut found);
    let parts = BlobPart::ALL.map(|part| (part, rule.actions(part)));
    if parts.iter().all(|(_, actions)| actions.is_empty()) {
        found.push(Problem::NoActions);
    }
    for (part, actions) in parts {
        check_actions(part, actions, &mut found);
        if rule.filter.has_append_blobs && !actions.tiers.is_empty() {
            found.push(Problem::TierOfAppendBlobs);
        }
        if are_scoped && actions.tiers.contains_key(&Tier::Archive) {
            found.push(Problem::ArchiveOfScope);
        }
    }
    found
}

fn check_filter(filter: &LifecycleFilter, found: &mut Vec<Problem>) {
    let LifecycleFilter { prefixes, tags, .. } = filter;
    if prefixes.len() > FILTERS {
        let count = prefixes.len();
        found.push(Problem::TooManyPrefixes { count });
    }
    for (at, prefix) in prefixes.iter().enumerate() {
        let prefix = prefix.clone();
        let covers = |(other, it): (usize, &String)| {
            other != at && prefix.starts_with(&**it) && (prefix != *it || other < at)
        };
        if !is_prefix(&prefix) {
            found.push(Problem::BadPrefix { prefix });
        } else if prefixes.iter().enumerate().any(covers) {
            found.push(Problem::CoveredPrefix { prefix });
        }
    }
    if tags.len() > FILTERS {
        found.push(Problem::TooManyTags { count: tags.len() });
    }
    for (at, (name, value)) in tags.iter().enumerate() {
        let tag = name.clone();
        let fits = |text: &str| text.bytes().all(is_of_tag);
        if !(1..=128).contains(&name.len()) || value.len() > 256 || !fits(name) || !fits(value) {
            found.push(Problem::BadTag { tag });
        } else if tags.iter().take(at).any(|(other, _)| other == name) {
            found.push(Problem::RepeatedTag { tag });
        }
    }
}

/// A container is 3 to 63 lower-case letters, digits and hyphens; without a slash behind it, it is how
/// the names of containers begin.
fn is_prefix(prefix: &str) -> bool {
    let (container, rest) = match prefix.split_once('/') {
        Some((container, rest)) => (container, Some(rest)),
        None => (prefix, None),
    };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let least = if rest.is_some() { 3 } else { 1 };
    (least..=63).contains(&container.len())
        && container.bytes().all(fits)
        && !container.starts_with('-')
        && rest.is_none_or(|rest| {
            rest.len() <= 1_024
                && !rest.contains(|it: char| matches!(it, '*' | '?') || it.is_control())
        })
}

const fn is_of_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b' ' | b'+' | b'-' | b'.' | b'/' | b':' | b'=' | b'_')
}

/// What is done, from the dearest to the cheapest.
fn in_order(actions: &LifecycleActions) -> Vec<(&'static str, LifecycleAge)> {
    let tiers = actions
        .tiers
        .iter()
        .map(|(tier, age)| (action(*tier), *age));
    let delete = actions.delete.map(|age| (DELETE, age));
    tiers.chain(delete).collect()
}

pub(super) const DELETE: &str = "delete";

/// Returns the name that a policy has for the move to a tier.
pub(super) const fn action(tier: Tier) -> &'static str {
    match tier {
        Tier::Hot => "tierToHot",
        Tier::Cool => "tierToCool",
        Tier::Cold => "tierToCold",
        Tier::Archive => "tierToArchive",
    }
}

fn check_actions(part: BlobPart, actions: &LifecycleActions, found: &mut Vec<Problem>) {
    if actions.tiers.contains_key(&Tier::Hot) {
        found.push(Problem::HotTier);
    }
    let all = in_order(actions);
    for (at, &(action, age)) in all.iter().enumerate() {
        if age.days > OLDEST || age.since_tier_change.is_some_and(|days| days > OLDEST) {
            found.push(Problem::TooOld { action });
        }
        if part != BlobPart::Base && age.basis != AgeBasis::Creation {
            found.push(Problem::NotOfBase { action });
        }
        let counts_as_it_must = match part {
            BlobPart::Base => age.basis == AgeBasis::Modification,
            BlobPart::Version | BlobPart::Snapshot => true,
        };
        if age.since_tier_change.is_some()
            && (action != self::action(Tier::Archive) || !counts_as_it_must)
        {
            found.push(Problem::TierChange { action });
        }
        // A cheaper one that is due as soon is done in its place.
        let cheaper = all.iter().skip(at + 1);
        let mut sooner = cheaper.filter(|(_, other)| {
            // The creation is never later than the other two.
            let is_as_soon = other.basis == age.basis || other.basis == AgeBasis::Creation;
            is_as_soon && other.days <= age.days && other.since_tier_change.is_none()
        });
        if let Some((first, _)) = sooner.next() {
            found.push(Problem::Order {
                never: action,
                first,
            });
        }
    }
    let is_cooled_by_access = actions
        .tier(Tier::Cool)
        .is_some_and(|age| age.basis == AgeBasis::LastAccess);
    if actions.is_hot_again && !(part == BlobPart::Base && is_cooled_by_access) {
        found.push(Problem::HotAgain);
    }
}
