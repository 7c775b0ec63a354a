//! What shall not compile, and what the compiler says about it.
//!
//! Each file in `compile_fail/` is a misuse with the message beside it. The texts are ours as far
//! as possible; where they are the compiler's, another release may word them differently. After a
//! change on purpose, `TRYBUILD=overwrite cargo test -p tenantry-tests --test compile_fail` writes
//! them anew, to be read in the diff.

#[test]
fn misuse_does_not_compile_and_the_message_helps() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("compile_fail/*/*.rs");
}
