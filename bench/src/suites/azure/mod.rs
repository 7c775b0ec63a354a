//! Blobs in Azurite beside the official client and `object_store`; encrypted blobs beside plain ones in a
//! folder.

mod encrypted;
mod list;
mod peers;
mod transfer;

use crate::error::Result;
use crate::options::Options;
use crate::report::Report;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    transfer::run(options.quick, report).await?;
    list::run(options.quick, report).await?;
    encrypted::run(options, report).await
}
