//! A bar for what takes longer, where somebody looks.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the standard error, if that is a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Begins a bar of so many steps; none where JSON is asked for, or nobody would see it.
    pub(crate) fn start(steps: usize, is_quiet: bool) -> Self {
        let is_seen = !is_quiet && io::stderr().is_terminal();
        Self(is_seen.then(|| {
            let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
            bar.set_style(style());
            bar
        }))
    }

    /// Says what is being done.
    pub(crate) fn at(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(crate::output::one_line(what));
        }
    }

    /// Says that a step is done.
    pub(crate) fn step(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The template is a constant; without it the bar is plain.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
