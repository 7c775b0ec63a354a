//! A secret is not printed, whoever logs it.

use tenantry_core::Secret;

fn log(password: &Secret) -> String {
    format!("connecting with {password}")
}

fn main() {}
