//! The plan that PostgreSQL makes of a rewritten statement, and whether each scan in it has the tenant.
//!
//! A scan of a table with a tenant must be restricted by `tenant_id = <the tenant>` in a condition
//! of its own, or by `tenant_id = <other>.tenant_id` where the other is restricted; a disjunction
//! counts if each of its branches does, a condition of the join above or a filter of the result do
//! not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Where the planner puts what restricts the rows of a scan itself.
const OWN: [&str; 5] = [
    "Index Cond",
    "Recheck Cond",
    "Filter",
    "TID Cond",
    "Order By",
];
/// Where it puts what restricts a pair of rows.
const JOINED: [&str; 3] = ["Hash Cond", "Merge Cond", "Join Filter"];

/// Returns the scans that read rows of more than `tenant`, by table and alias.
pub(crate) fn unscoped(plan: &Value, owned: &[String], tenant: &str) -> Vec<String> {
    let mut scans = Vec::new();
    let mut joined = Vec::new();
    if let Some(statements) = plan.as_array() {
        for statement in statements {
            collect(&statement["Plan"], owned, &mut scans, &mut joined);
        }
    }
    // Restricted by the value, and then whoever is equal to one that is restricted.
    let mut scoped: BTreeSet<&str> = BTreeSet::new();
    let mut links: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for scan in &scans {
        for conjunct in &scan.conditions {
            if is_bound_in_each_branch(conjunct, &scan.alias, tenant) {
                scoped.insert(&scan.alias);
            }
            let Some(other) = other_side(conjunct, &scan.alias) else {
                continue;
            };
            if other == format!("'{tenant}'::uuid") {
                scoped.insert(&scan.alias);
            } else {
                links.entry(&scan.alias).or_default().push(other);
            }
        }
        for conjunct in &joined {
            if let Some(other) = other_side(conjunct, &scan.alias) {
                links.entry(&scan.alias).or_default().push(other);
            }
        }
    }
    loop {
        let found = scans.iter().find(|scan| {
            let linked = links
                .get(scan.alias.as_str())
                .into_iter()
                .flatten()
                .any(|other| scoped.iter().any(|alias| names(alias).contains(other)));
            linked && !scoped.contains(scan.alias.as_str())
        });
        match found {
            Some(scan) => scoped.insert(&scan.alias),
            None => break,
        };
    }
    let open = scans
        .iter()
        .filter(|scan| !scoped.contains(scan.alias.as_str()));
    open.map(|scan| {
        format!(
            "{} as {} has only {:?}",
            scan.table, scan.alias, scan.conditions
        )
    })
    .collect()
}

struct Scan {
    table: String,
    alias: String,
    conditions: Vec<String>,
}

fn collect(node: &Value, owned: &[String], scans: &mut Vec<Scan>, joined: &mut Vec<String>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default();
    // What a constant condition rules out is never run, and has lost its other conditions. What is
    // reckoned beforehand may be.
    let is_ruled_out = conjuncts(text("One-Time Filter"))
        .iter()
        .any(|it| it == "false");
    for name in JOINED {
        // A condition of an outer join restricts one side only; the planner has put what holds for
        // a scan into the scan.
        if text("Join Type") == "Inner" {
            joined.extend(conjuncts(text(name)));
        }
    }
    let reads = text("Node Type") != "ModifyTable";
    if reads && owned.iter().any(|table| table == text("Relation Name")) {
        scans.push(Scan {
            table: text("Relation Name").to_owned(),
            alias: text("Alias").to_owned(),
            conditions: OWN.iter().flat_map(|name| conjuncts(text(name))).collect(),
        });
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        if is_ruled_out && child["Parent Relationship"] == "Outer" {
            continue;
        }
        collect(child, owned, scans, joined);
    }
}

/// Says whether a condition is a disjunction with the tenant in each branch, as the planner makes one to
/// look for each branch in an index.
fn is_bound_in_each_branch(condition: &str, alias: &str, tenant: &str) -> bool {
    let branches = split(condition, " OR ");
    let value = format!("'{tenant}'::uuid");
    let is_bound = |branch: &String| {
        conjuncts(branch)
            .iter()
            .any(|conjunct| other_side(conjunct, alias).as_ref() == Some(&value))
    };
    branches.len() > 1 && branches.iter().all(is_bound)
}

/// Returns what the tenant of `alias` is equal to by this condition.
fn other_side(conjunct: &str, alias: &str) -> Option<String> {
    let (left, right) = conjunct.split_once(" = ")?;
    if names(alias).iter().any(|name| name == left) {
        Some(right.to_owned())
    } else if names(alias).iter().any(|name| name == right) {
        Some(left.to_owned())
    } else {
        None
    }
}

/// The ways in which the column of the tenant may be written.
fn names(alias: &str) -> [String; 2] {
    [
        format!("{alias}.tenant_id"),
        format!("\"{}\".tenant_id", alias.replace('"', "\"\"")),
    ]
}

/// Splits `((a) AND (b))` at the outermost level.
fn conjuncts(condition: &str) -> Vec<String> {
    split(condition, " AND ")
}

fn split(condition: &str, word: &str) -> Vec<String> {
    let condition = without_parentheses(condition.trim());
    let mut parts = Vec::new();
    let mut start = 0;
    let bytes = condition.as_bytes();
    for (index, depth) in depths(condition) {
        if depth == 0 && bytes[index..].starts_with(word.as_bytes()) {
            parts.push(&condition[start..index]);
            start = index + word.len();
        }
    }
    if parts.is_empty() {
        return if condition.is_empty() {
            Vec::new()
        } else {
            vec![condition.to_owned()]
        };
    }
    parts.push(&condition[start..]);
    let again = |part| split(part, word);
    parts.into_iter().flat_map(again).collect()
}

fn without_parentheses(text: &str) -> &str {
    let mut text = text;
    while text.starts_with('(') && text.ends_with(')') {
        let closes = depths(text)
            .into_iter()
            .find(|(index, depth)| *index > 0 && *depth == 0);
        match closes {
            Some((index, _)) if index + 1 < text.len() => break,
            _ => text = text[1..text.len() - 1].trim(),
        }
    }
    text
}

/// The depth of parentheses after each byte that stands outside of quotes.
fn depths(text: &str) -> Vec<(usize, usize)> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut depths = Vec::new();
    for (index, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => continue,
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[') => depth += 1,
            (None, b')' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depths.push((index, depth));
    }
    depths
}

#[test]
fn conditions_are_split_at_the_outermost_and() {
    assert_eq!(
        conjuncts("((a.x = 1) AND (b.y = 'c AND d'::text))"),
        ["a.x = 1", "b.y = 'c AND d'::text"]
    );
    assert_eq!(
        conjuncts("((a.x = 1) OR (a.y = 2))"),
        ["(a.x = 1) OR (a.y = 2)"]
    );
    assert_eq!(
        conjuncts("(((a.x = 1) AND a.b) AND (a.y = 2))"),
        ["a.x = 1", "a.b", "a.y = 2"]
    );
    assert_eq!(
        conjuncts("(NOT ((a.x = 1) AND (a.y = 2)))"),
        ["NOT ((a.x = 1) AND (a.y = 2))"]
    );
    assert!(conjuncts("").is_empty());
}

#[test]
fn a_disjunction_counts_if_each_branch_does() {
    let bound = |condition: &str| is_bound_in_each_branch(condition, "n", "t");
    let one = "(n.tenant_id = 't'::uuid) AND (n.id < 1)";
    assert!(bound(&format!("(({one}) OR ({one}))")));
    assert!(bound(&format!("({one}) OR (n.tenant_id = 't'::uuid)")));
    assert!(!bound(&format!("({one}) OR (n.id > 4)")));
    assert!(!bound(&format!("({one}) OR (n.tenant_id = 'u'::uuid)")));
    assert!(!bound(one));
}
