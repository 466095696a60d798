//! How far a long run is: a bar on a terminal, lines elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How a long run shows how far it is, on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// A bar on a terminal, nothing elsewhere
    Auto,
    /// A bar, also where stderr is no terminal
    Bar,
    /// A line now and then
    Plain,
    /// The same as JSON, an object a line
    Json,
    /// Nothing
    None,
}

/// What was asked for on the command line, which is read once.
static STYLE: OnceLock<Style> = OnceLock::new();

/// Lines come no quicker than this, so that logs stay readable.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// How far a long run is.
pub struct Progress {
    shown: Shown,
    unit: &'static str,
    start: Instant,
    /// When the last line was written, and how far it was.
    last: Cell<(Option<Instant>, usize)>,
    done: Cell<usize>,
}

enum Shown {
    Bar(ProgressBar),
    Lines { json: bool, total: Cell<usize> },
}

impl Style {
    /// Takes the style of the command line for all that follows.
    pub fn choose(self) {
        let _ = STYLE.set(self);
    }
}

impl Progress {
    /// Over `total` of `unit`, 0 for nobody knows how many, in the style that was asked for; nothing when quiet.
    pub fn new(total: usize, unit: &'static str, quiet: bool) -> Progress {
        let style = if quiet { Style::None } else { STYLE.get().copied().unwrap_or(Style::Auto) };
        let shown = match style {
            Style::Auto if std::io::stderr().is_terminal() => Shown::Bar(bar(total, unit)),
            Style::Auto | Style::None => Shown::Bar(ProgressBar::hidden()),
            Style::Bar => Shown::Bar(bar(total, unit)),
            Style::Plain | Style::Json => Shown::Lines { json: style == Style::Json, total: Cell::new(total) },
        };
        Progress { shown, unit, start: Instant::now(), last: Cell::new((None, 0)), done: Cell::new(0) }
    }

    /// None, for a part of a run that shows its own.
    pub fn hidden() -> Progress {
        Progress::new(0, "", true)
    }

    /// One more is done.
    pub fn step(&self) {
        let done = self.done.get() + 1;
        self.set(done);
    }

    /// `done` are done.
    pub fn set(&self, done: usize) {
        self.done.set(done);
        match &self.shown {
            Shown::Bar(bar) => bar.set_position(done as u64),
            Shown::Lines { total, .. } => self.line(done, total.get(), "", done == total.get()),
        }
    }

    /// As [`Progress::set`], of another total, with what else is to be seen.
    pub fn set_of(&self, done: usize, whole: usize, beside: &str) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_length(whole as u64);
                bar.set_position(done as u64);
                bar.set_message(beside.to_string());
            }
            Shown::Lines { total, .. } => {
                total.set(whole);
                self.line(done, whole, beside, done == whole);
            }
        }
    }

    /// Says a line above the bar.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| super::console::say(line)),
            Shown::Lines { .. } => super::console::say(line),
        }
    }

    /// Clears the bar.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// A line, unless one was written shortly before; the `last` one is always written, and once.
    fn line(&self, done: usize, total: usize, beside: &str, last: bool) {
        let Shown::Lines { json, .. } = &self.shown else { return };
        let (before, shown) = self.last.get();
        let early = before.is_some_and(|before| before.elapsed() < BETWEEN_LINES);
        if (early && !last) || (before.is_some() && shown == done) {
            return;
        }
        self.last.set((Some(Instant::now()), done));
        let seconds = self.start.elapsed().as_secs_f64();
        let total = (total > 0).then_some(total);
        let left = total.filter(|_| done > 0);
        let left = left.map(|total| seconds / done as f64 * total.saturating_sub(done) as f64);
        let text = if *json {
            let object = serde_json::json!({
                "progress": { "done": done, "total": total, "unit": self.unit, "seconds": seconds, "seconds_left": left,
                    "beside": beside },
            });
            object.to_string()
        } else {
            let left = left.map_or_else(String::new, |left| format!(", {left:.0} s left"));
            let gap = if beside.is_empty() { "" } else { " " };
            let of = total.map_or_else(String::new, |total| format!("/{total}"));
            format!("medsegx: {done}{of} {}{left}{gap}{beside}", self.unit)
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

fn bar(total: usize, unit: &'static str) -> ProgressBar {
    let known = (total > 0).then_some(total as u64);
    let bar = ProgressBar::with_draw_target(known, indicatif::ProgressDrawTarget::stderr());
    if !std::io::stderr().is_terminal() {
        // The usual target draws nothing there.
        bar.set_draw_target(indicatif::ProgressDrawTarget::term_like(Box::new(Unseen)));
    }
    let style = match known {
        Some(_) => ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left {{msg}}")),
        None => ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {unit} {{msg}}")),
    };
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Stderr that is no terminal, drawn on as if it were one.
#[derive(Debug)]
struct Unseen;

impl indicatif::TermLike for Unseen {
    fn width(&self) -> u16 {
        80
    }

    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}A")) }
    }

    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}B")) }
    }

    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}C")) }
    }

    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}D")) }
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        std::io::stderr().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
