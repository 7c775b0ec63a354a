//! Errors of a program that has nobody to handle them.

use std::error::Error as StdError;

pub(crate) type Error = Box<dyn StdError + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns the error and its causes on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
