//! `--progress` of the long commands: lines on stderr that end with all done, and nothing of it on stdout.
#![cfg(feature = "cli")]

use medsegx::volume::npy;
use serde_json::Value;

use crate::common::command::{medsegx, message};

/// The last progress that a command said as JSON.
fn last(arguments: &[&str]) -> Value {
    let run = medsegx(&[arguments, &["--progress", "json"]].concat());
    let said = message(&run);
    assert!(run.status.success(), "{said}");
    assert!(!String::from_utf8_lossy(&run.stdout).contains("\"progress\""));
    let mut objects = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = objects.rfind(|object| object["progress"].is_object());
    let quiet = medsegx(&[arguments, &["--progress", "none"]].concat());
    assert!(!message(&quiet).contains("progress"), "{}", message(&quiet));
    last.unwrap_or_else(|| panic!("no progress: {said}"))["progress"].clone()
}

#[test]
fn long_commands_say_how_far_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let weights = path("w.safetensors");
    let of_synth = last(&["synth", "--config", "tiny", "--output", &weights, "--force"]);
    assert_eq!((&of_synth["done"], &of_synth["unit"]), (&of_synth["total"], &"tensors".into()));
    assert!(of_synth["done"].as_u64().unwrap() > 100);

    let labels: Vec<u8> = (0..64).map(|index| index % 4).collect();
    npy::write(&mut std::fs::File::create(path("m.npy")).unwrap(), &[4, 4, 4], &labels).unwrap();
    let of_score = last(&["score", &path("m.npy"), &path("m.npy"), "--spacing", "1,1,1"]);
    assert_eq!((&of_score["done"], &of_score["total"], &of_score["unit"]), (&3.into(), &3.into(), &"labels".into()));

    let tiny = ["--config", "tiny", "--repeats", "2", "--threads", "1"];
    let of_model = last(&[&["bench", "model", "--batch", "1,2"], &tiny[..]].concat());
    assert_eq!((&of_model["done"], &of_model["total"], &of_model["unit"]), (&4.into(), &4.into(), &"runs".into()));
}
