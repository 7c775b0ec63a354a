//! The server of the test kit as its clients see it, and one of these clients: the management of storage
//! accounts.

mod support;

mod limits;
mod specification;

mod acts;
mod canary;
mod check;
mod containers;
mod faults;
mod lifecycle;
mod scopes;
