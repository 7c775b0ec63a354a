//! What the fuzz targets share: statements by chance, and judges that know right from wrong.
//!
//! One judge ([`Sides`]) runs a guarded statement where two tenants live and the original
//! where one of them is alone: they have to do the same. The other ([`placement`])
//! looks for the tenant at each table of the statement that comes out.

mod finding;
pub mod grammar;
pub mod mutation;
pub mod placement;
pub mod sides;
mod tally;

pub use finding::{Finding, Kind, Verdict};
pub use sides::Sides;
pub use tally::Tally;
