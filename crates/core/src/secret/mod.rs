//! References to secrets, which may be stored and printed, and secrets, which may not.

mod generation;
mod reference;
mod resolver;
mod value;

pub use self::generation::{
    RetiringGeneration, SecretGeneration, SecretGenerations, SecretSource, SecretWatch,
};
pub use self::reference::{SecretLocation, SecretReference, SecretScheme};
pub use self::resolver::SecretResolver;
pub use self::value::Secret;
