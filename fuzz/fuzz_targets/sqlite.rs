//! Statements of SQLite: what the guard lets pass does beside another
//! tenant what its original does where ours is alone.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use tenantry_fuzz::grammar::Dialect;
use tenantry_fuzz::sides::Sqlite;
use tenantry_fuzz::{Sides, Tally, mutation};

thread_local! {
    static JUDGE: RefCell<(Sides<Sqlite>, Tally)> = RefCell::new((
        Sides::open().expect("SQLite in memory opens"),
        Tally::new(),
    ));
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(sql) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    JUDGE.with_borrow_mut(|(sides, tally)| match sides.judge(sql) {
        Ok(verdict) => tally.count(verdict),
        Err(finding) => panic!("{finding}"),
    });
    Corpus::Keep
});

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    // Bytes by chance and by the dictionary now and then: what no grammar has.
    match seed % 3 {
        0 => fuzzer_mutate(data, size, most),
        _ => mutation::in_place(Dialect::Sqlite, data, size, most, seed),
    }
});
