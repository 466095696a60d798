//! What is said to whoever started the program.

use std::fmt;
use std::io::Write;

use medsegx::codes::Warning;

/// An error and its causes, each once: the library's errors already end with their cause.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints a text; a reader that closed the pipe has seen enough.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says a line on stderr. Where nobody can hear it the run goes on; `eprintln!` would panic. What a name from a file
/// would tell the terminal is escaped.
pub fn say(line: &str) {
    let plain = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    let told: String =
        line.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_debug().to_string() }).collect();
    let _ = writeln!(std::io::stderr(), "{told}");
}

/// Says what looks wrong although the run goes on.
pub fn warn(warning: &Warning) {
    say(&format!("medsegx: warning: {warning} [{}]", warning.code.name()));
}

/// A value as it is printed by `--json`.
pub fn json(described: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(described)? + "\n")
}

/// A mistake in the arguments that only shows when they are seen together.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A [`Usage`] as an error; the process ends with 2.
pub fn usage(message: &str) -> anyhow::Error {
    Usage(message.into()).into()
}

/// A number of things, as "1 slice" or "3 slices".
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Text of a file as a terminal can show it: what would steer the terminal is escaped, quotes stay as they are.
pub fn shown(text: &str) -> String {
    let quote = |c: char| matches!(c, '\'' | '"');
    let piece = |piece: &str| {
        let plain = piece.trim_end_matches(quote);
        format!("{}{}", plain.escape_debug(), &piece[plain.len()..])
    };
    text.split_inclusive(quote).map(piece).collect()
}
