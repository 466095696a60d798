//! Programs that this one runs.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

/// What a program printed, whether or not it succeeded. Its standard error goes to ours.
pub struct Output {
    pub success: bool,
    pub stdout: String,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> anyhow::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    eprintln!("gpu_check: {}", line(command));
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("run {name}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Output { success: output.status.success(), stdout })
}

/// The JSON that a program prints; it has to succeed.
pub fn json(command: &mut Command) -> anyhow::Result<Value> {
    let output = run(command)?;
    anyhow::ensure!(output.success, "{} failed", line(command));
    serde_json::from_str(&output.stdout).with_context(|| format!("what {} printed", line(command)))
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
