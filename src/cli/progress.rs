//! A progress bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a long run is.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over `total` of `unit`, hidden when quiet or when stderr is no terminal.
    pub fn new(total: usize, unit: &'static str, quiet: bool) -> Progress {
        if quiet || !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(total as u64);
        let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left {{msg}}"));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress(bar)
    }

    /// `done` are done.
    pub fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// As [`Progress::set`], of another total, with what else is to be seen.
    pub fn set_of(&self, done: usize, total: usize, beside: &str) {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
        self.0.set_message(beside.to_string());
    }

    /// Clears the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
