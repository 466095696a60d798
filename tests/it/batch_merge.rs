//! Shards of a batch, and the one table of all.

use std::fs;

use crate::common::batch::{Cases, contents, rows};
use crate::common::command::message;

fn five() -> Cases {
    let mut cases = Cases::new();
    (0..5).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1 + seed % 2));
    cases
}

#[test]
fn shards_and_their_merge_have_the_bytes_of_one_process() {
    let cases = five();
    assert!(cases.run("clean", &["--quiet"]).status.success());
    for (index, out) in ["same", "same", "other"].iter().enumerate() {
        let run = cases.run(out, &["--quiet", "--resume", "--shard", &format!("{index}/3")]);
        assert!(run.status.success(), "{}", message(&run));
        assert!(cases.path(out).join(format!("summary-shard-{index}-of-3.jsonl")).is_file());
    }
    let early = cases.merge(&["same"], &["--quiet"]);
    assert_eq!(early.status.code(), Some(3), "{}", message(&early));
    let missing = rows(&cases.path("same/summary.jsonl"));
    let missing: Vec<_> = missing.iter().filter(|row| row["code"] == "missing").collect();
    assert!(!missing.is_empty() && missing.len() < 5);
    assert!(message(&early).contains(missing[0]["case"].as_str().unwrap()), "{}", message(&early));

    let out = cases.path("all").display().to_string();
    for _ in 0..2 {
        let merged = cases.merge(&["same", "other"], &["--quiet", "--out", &out]);
        assert!(merged.status.success(), "{}", message(&merged));
        assert_eq!(contents(&cases.path("clean")), contents(&cases.path("all")));
    }
}

#[test]
fn a_result_that_is_not_of_this_manifest_is_missed() {
    let mut cases = five();
    assert!(cases.run("out", &["--quiet"]).status.success());
    assert!(cases.merge(&["out"], &["--quiet"]).status.success());
    fs::write(cases.path("out/1.nii.gz"), b"cut").unwrap();
    fs::remove_file(cases.path("out/2.nii.gz")).unwrap();
    fs::copy(cases.path("0.nii.gz"), cases.path("3.nii.gz")).unwrap();
    cases.volume("new.nii.gz", 9, 1);
    let merged = cases.merge(&["out"], &[]);
    assert_eq!(merged.status.code(), Some(3), "{}", message(&merged));
    let rows = rows(&cases.path("out/summary.jsonl"));
    let left: Vec<_> =
        rows.iter().filter(|row| row["status"] != "done").map(|row| row["case"].as_str().unwrap()).collect();
    assert_eq!(left, ["1", "2", "3", "new"]);
}

#[test]
fn a_shard_out_of_range_is_a_wrong_argument() {
    let run = five().run("out", &["--shard", "3/3"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(message(&run).contains("needs 0 to 2"), "{}", message(&run));
}
