//! `medsegx batch --qc`: the page has all cases and their pictures, no place outside, no name of a patient, and the
//! same bytes however its results came to be. `tools/check_qc.sh` opens it in a browser.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::batch::{Cases, contents, wait_for_records};
use crate::common::command::message;
use crate::common::dicom_file::{DicomFile, text};

/// Six volumes and two cases that fail.
fn eight() -> Cases {
    let mut cases = Cases::new();
    (0..6).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1 + seed % 3));
    cases.line("vanished.nii.gz", "--box3d 1,1,0,9,9,1");
    fs::write(cases.path("noise.nii.gz"), [7; 900]).unwrap();
    cases.line("noise.nii.gz", "--box3d 5,4,0,22,18,2");
    cases
}

fn page(out: &Path) -> String {
    fs::read_to_string(out.join("qc.html")).unwrap()
}

/// What stands between `start` and `end`.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    page.split_once(start).unwrap_or_else(|| panic!("no {start}")).1.split_once(end).unwrap().0
}

fn report(page: &str) -> Value {
    serde_json::from_str(between(page, "id=\"report\">", "</script>")).unwrap()
}

/// The PNG files of a page, by the number of their case.
fn pictures(page: &str) -> Vec<(usize, Vec<u8>)> {
    use base64::Engine as _;
    let of = |part: &str| {
        let (number, rest) = part.split_once("\">").unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(rest.split_once('<').unwrap().0).unwrap();
        (number.parse().unwrap(), png)
    };
    page.split("data-sheet=\"").skip(1).map(of).collect()
}

#[test]
fn a_row_and_a_picture_a_case_and_nothing_from_outside() {
    let cases = eight();
    let run = cases.run("out", &["--qc", "--quiet"]);
    assert_eq!(run.status.code(), Some(3), "{}", message(&run));
    let page = page(&cases.path("out"));
    let rows = report(&page)["cases"].as_array().unwrap().clone();
    let names: Vec<_> = rows.iter().map(|row| row["case"].as_str().unwrap()).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "vanished", "noise"]);
    assert_eq!((&rows[6]["code"], &rows[7]["code"]), (&"not-found".into(), &"file".into()));
    let pictures = pictures(&page);
    assert_eq!(pictures.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    for (number, bytes) in pictures {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let sheet = &rows[number]["sheet"];
        assert_eq!((&sheet["width"], &sheet["height"]), (&info.width.into(), &info.height.into()));
        let different = pixels.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(different > 16, "{different} levels");
    }
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none'; img-src data:; script-src 'sha256-"), "{policy}");
    let folder = cases.folder.path().display().to_string();
    for outside in ["http:", "https:", "<link", "src=\"", &folder] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn killed_and_resumed_or_in_shards_the_page_has_the_bytes_of_a_clean_run() {
    let cases = eight();
    assert_eq!(cases.run("clean", &["--qc", "--quiet"]).status.code(), Some(3));
    let mut child =
        cases.batch("out", &["--qc", "--resume"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_records(&cases.path("out"), 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(cases.run("out", &["--qc", "--quiet", "--resume"]).status.code(), Some(3));
    assert_eq!(contents(&cases.path("clean")), contents(&cases.path("out")));
    let before = page(&cases.path("out"));
    assert_eq!(cases.run("out", &["--qc", "--quiet", "--resume"]).status.code(), Some(3));
    assert!(before == page(&cases.path("out")), "resumed with nothing to do");

    for index in 0..2 {
        let shard = format!("{index}/2");
        let run = cases.run(&format!("part{index}"), &["--qc", "--quiet", "--shard", &shard]);
        assert!(matches!(run.status.code(), Some(0 | 3)), "{}", message(&run));
        let own = fs::read_to_string(cases.path(&format!("part{index}/qc-shard-{index}-of-2.html"))).unwrap();
        assert!((1..8).contains(&report(&own)["cases"].as_array().unwrap().len()));
    }
    let out = cases.path("all").display().to_string();
    let merged = cases.merge(&["part0", "part1"], &["--qc", "--quiet", "--out", &out]);
    assert_eq!(merged.status.code(), Some(3), "{}", message(&merged));
    assert!(page(&cases.path("clean")) == page(&cases.path("all")), "merged");
}

#[test]
fn a_page_asked_for_later_does_the_cases_again_that_have_no_picture() {
    let mut cases = Cases::new();
    (0..3).for_each(|seed| cases.volume(&format!("{seed}.nii.gz"), seed, 1));
    assert!(cases.run("out", &["--quiet"]).status.success());
    let without = cases.merge(&["out"], &["--qc", "--quiet"]);
    assert!(without.status.success(), "{}", message(&without));
    let merged = page(&cases.path("out"));
    assert!(pictures(&merged).is_empty() && report(&merged)["cases"].as_array().unwrap().len() == 3);
    assert!(cases.run("out", &["--quiet", "--qc", "--resume"]).status.success());
    assert_eq!(pictures(&page(&cases.path("out"))).len(), 3);
    let sheets: Vec<_> = fs::read_dir(cases.path("out/.medsegx/sheets")).unwrap().map(|e| e.unwrap().path()).collect();
    fs::remove_file(&sheets[0]).unwrap();
    let again = cases.run("out", &["--qc", "--resume"]);
    assert!(message(&again).contains("3 cases, 1 to do"), "{}", message(&again));
    let decided = "case,decision,note\r\n0,accept,\r\n1,redo,\"a \"\"note\"\"\"\r\n2,,open\r\n";
    fs::write(cases.path("qc.csv"), format!("\u{feff}{decided}")).unwrap();
    let only = cases.path("qc.csv").display().to_string();
    let redone = cases.run("out", &["--qc", "--only", &only]);
    assert!(message(&redone).contains("1 case, 1 to do"), "{}", message(&redone));
    assert_eq!(pictures(&page(&cases.path("out"))).len(), 3);
}

#[test]
fn the_page_says_nothing_of_a_patient() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "Quastel^Ottokar";
    let series = folder.path().join(secret);
    fs::create_dir(&series).unwrap();
    for index in 0..2_u16 {
        let samples: Vec<u16> = (0..40 * 36).map(|i| (i * 37 + index) % 251).collect();
        let mut file = DicomFile::slice(40, 36, [0.0, 0.0, f64::from(index)], &samples);
        file.set(text(0x0010_0010, "PN", secret));
        file.set(text(0x0010_0020, "LO", "PX4471193"));
        file.write(&series, &format!("{index}.dcm"));
    }
    let flags = "\"--box3d 5,6,0,30,31,1\"";
    let rows = format!("image,output,flags\n{secret},a.nii.gz,{flags}\n{secret}/none,b.nii.gz,{flags}\n");
    fs::write(folder.path().join("manifest.csv"), rows).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let weights = crate::common::command::weights().to_str().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_medsegx"))
        .args(["batch", &path("manifest.csv"), "--out", &path("out"), "--qc", "--weights", weights, "--device", "cpu"])
        .args(["--", "--task", "CT_Liver"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(3), "{}", message(&run));
    let page = page(&folder.path().join("out"));
    assert_eq!(pictures(&page).len(), 1, "{}", message(&run));
    for secret in ["Quastel", "Ottokar", "PX4471193"] {
        assert!(!page.contains(secret), "{secret}");
    }
}
