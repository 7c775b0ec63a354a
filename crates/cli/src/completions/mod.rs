//! `tenantry completions`: what a shell completes a command by.

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::{Cli, Verdict};

/// Writes what a shell completes this command by.
///
/// For bash: `tenantry completions bash > /etc/bash_completion.d/tenantry`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes it.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Verdict {
    generate(options.shell, &mut Cli::command(), "tenantry", out);
    Verdict::Clean
}
