//! Statements of PostgreSQL, without a server: what the guard lets pass has the tenant at each
//! table.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use tenantry_fuzz::grammar::Dialect;
use tenantry_fuzz::placement::Placement;
use tenantry_fuzz::{Tally, mutation};

thread_local! {
    static JUDGE: RefCell<(Placement, Tally)> = RefCell::new((Placement::new(), Tally::new()));
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(sql) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    JUDGE.with_borrow_mut(|(placement, tally)| match placement.judge(sql) {
        Ok(verdict) => tally.count(verdict),
        Err(finding) => panic!("{finding}"),
    });
    Corpus::Keep
});

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    // Bytes by chance and by the dictionary now and then: what no grammar has.
    match seed % 3 {
        0 => fuzzer_mutate(data, size, most),
        _ => mutation::in_place(Dialect::Postgres, data, size, most, seed),
    }
});
