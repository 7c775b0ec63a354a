//! Statements made to get past the guard.

use super::guard::Guard;
use super::judge::{Statement, judge};
use super::report::Report;
use super::world::World;
use super::zoo;

/// Letters that no editor shows, as they are written in the file.
const LETTERS: [(&str, &str); 7] = [
    ("<CR>", "\r"),
    ("<VT>", "\u{b}"),
    ("<FF>", "\u{c}"),
    ("<LS>", "\u{2028}"),
    ("<NBSP>", "\u{a0}"),
    ("<ZW>", "\u{200b}"),
    ("<BOM>", "\u{feff}"),
];

#[tokio::test]
async fn crafted_statements() {
    compare().await;
}

/// For the page about it.
#[tokio::test]
#[ignore = "run by scripts/prove"]
async fn prove_crafted_statements() {
    compare().await;
}

async fn compare() {
    let mut world = World::open(&zoo::ON_POSTGRES).await;
    let guard = Guard::of(&world.store).await;
    let mut report = Report::of("crafted");
    for statement in statements() {
        let verdict = judge(&mut world, &guard, &statement).await;
        report.add(&statement, &verdict);
    }
    report.assert_no_mismatch();
}

fn statements() -> Vec<Statement> {
    let mut file = include_str!("../../sql/crafted.sql").to_owned();
    for (written, letter) in LETTERS {
        file = file.replace(written, letter);
    }
    let mut statements = Vec::new();
    let mut text = String::new();
    // A carriage return is no end of a line here.
    for line in file.split('\n') {
        if text.is_empty() && (line.starts_with("-- ") || line.is_empty()) {
            continue;
        }
        match line.strip_suffix(';') {
            Some(end) => {
                text.push_str(end);
                statements.push(Statement::new(std::mem::take(&mut text)));
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    statements
}
