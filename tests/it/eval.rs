//! MedSegDB folders, reports and comparisons, with a predictor that is no network.

use crate::common;
#[cfg(feature = "cli")]
use crate::common::command as binary;
use crate::common::fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use medsegx::Result;
use medsegx::eval::expect::{Expected, Outcome};
use medsegx::eval::metrics::Scores;
use medsegx::eval::report::{Row, csv, float32_in_full, markdown, markdown_of_choice, markdown_of_rules, parse_csv};
use medsegx::eval::{Prediction, Predictor, Slice, evaluate};
use medsegx::mask::{Candidates, MaskChoice, Measures, Rule, choose};
use medsegx::medsegdb::{Layout, Set, walk};
use medsegx::volume::npy;

/// Three masks of a box: the left half, the whole box, the box and a frame of two pixels around it.
struct Boxes {
    calls: Vec<usize>,
}

impl Predictor for Boxes {
    fn batch(&self) -> usize {
        3
    }

    fn predict(&mut self, slices: &[Slice]) -> Result<Vec<Prediction>> {
        self.calls.push(slices.len());
        Ok(slices.iter().map(boxes).collect())
    }
}

fn boxes(slice: &Slice) -> Prediction {
    let region = slice.region;
    let middle = (region.x0 + region.x1) / 2;
    let mask = |x0: i64, y0: i64, x1: i64, y1: i64| -> Vec<bool> {
        let at = |i: usize| ((i % slice.width) as i64, (i / slice.width) as i64);
        let inside = |(x, y)| (x0..=x1).contains(&x) && (y0..=y1).contains(&y);
        (0..slice.width * slice.height).map(|i| inside(at(i))).collect()
    };
    let masks = vec![
        mask(region.x0, region.y0, middle, region.y1),
        mask(region.x0, region.y0, region.x1, region.y1),
        mask(region.x0 - 2, region.y0 - 2, region.x1 + 2, region.y1 + 2),
    ];
    let logits: Vec<f32> = masks.concat().iter().map(|&inside| if inside { 4.0 } else { -4.0 }).collect();
    let candidates = Candidates {
        logits: &logits,
        side: slice.width,
        first_token: 1,
        prompt: Some([region.x0 as f32, region.y0 as f32, region.x1 as f32, region.y1 as f32]),
        predicted_iou: &[],
    };
    let verdict = choose(&candidates, MaskChoice::Fixed(3), Rule::Product);
    Prediction { masks, verdict }
}

fn put(root: &Path, folder: &str, name: &str, label: &[u8], side: usize) {
    for (kind, shape, values) in [
        ("npy_gts", vec![side, side], label.to_vec()),
        ("npy_imgs", vec![side, side, 3], [label, label, label].concat()),
    ] {
        let folder = root.join(folder).join(kind);
        fs::create_dir_all(&folder).unwrap();
        npy::write(&mut fs::File::create(folder.join(name)).unwrap(), &shape, &values).unwrap();
    }
}

fn block(side: usize, [x0, y0, x1, y1]: [usize; 4]) -> Vec<u8> {
    let inside = |i: usize| (x0..=x1).contains(&(i % side)) && (y0..=y1).contains(&(i / side));
    (0..side * side).map(|i| if inside(i) { 7 } else { 0 }).collect()
}

fn files(set: &Set) -> Vec<&str> {
    set.cases.iter().map(|case| case.file.as_str()).collect()
}

#[test]
fn internal_folders_are_walked_in_sorted_order() {
    let root = tempfile::tempdir().unwrap();
    let label = block(8, [2, 2, 5, 5]);
    for (folder, name) in [
        ("B/CT_Liver", "b.npy"),
        ("B/CT_Liver", "a.npy"),
        ("B/CT_Liver", "B.npy"),
        ("A/MRI_Prostate/T2", "x.npy"),
        ("A/MRI_Prostate/ADC", "x.npy"),
        ("A/CT_Spleen", "y.npy"),
        (".hidden/CT_Liver", "h.npy"),
    ] {
        put(root.path(), folder, name, &label, 8);
    }
    for odd in ["B/.DS_Store", "B/CT_Liver/npy_gts/.DS_Store", "B/CT_Liver/npy_gts/notes.txt", "readme"] {
        fs::write(root.path().join(odd), "odd").unwrap();
    }
    let lone = root.path().join("B/CT_Liver/npy_imgs/lone.npy");
    fs::copy(root.path().join("B/CT_Liver/npy_imgs/a.npy"), &lone).unwrap();
    let sets = walk(root.path(), Layout::Internal).unwrap();
    assert_eq!((sets.len(), sets[0].name.as_str(), sets[0].title.as_str()), (1, "ID", "internal evaluation"));
    let expected = [
        "A/CT_Spleen/y.npy",
        "A/MRI_Prostate/ADC/x.npy",
        "A/MRI_Prostate/T2/x.npy",
        "B/CT_Liver/B.npy",
        "B/CT_Liver/a.npy",
        "B/CT_Liver/b.npy",
    ];
    assert_eq!(files(&sets[0]), expected);
    assert_eq!(sets[0].cases[1].task, "MRI_Prostate");
    assert_eq!(sets[0].unlabelled, [lone]);
    fs::remove_file(root.path().join("A/CT_Spleen/npy_imgs/y.npy")).unwrap();
    let lacking = walk(root.path(), Layout::Internal).unwrap();
    assert_eq!(files(&lacking[0]), expected, "a label without a picture fails by itself later");
}

#[test]
fn external_folders_give_a_set_a_shift() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("OOD");
    let label = block(8, [2, 2, 5, 5]);
    for folder in [
        "cross_site/MRI_Prostate/p158/inference",
        "cross_site/MRI_Prostate/p158/finetune",
        "cross_site/MRI_Prostate/seq/T2/inference",
        "cross_task/CT_ColonCancer/MSD/inference",
        "cross_other/CT_Liver/X/inference",
    ] {
        put(&root, folder, "x.npy", &label, 8);
    }
    let sets = walk(&root, Layout::External).unwrap();
    let names: Vec<_> = sets.iter().map(|set| (set.name.as_str(), set.title.as_str())).collect();
    assert_eq!(names, [("OOD-site", "external cross_site evaluation"), ("OOD-task", "external cross_task evaluation")]);
    assert_eq!(files(&sets[0]), ["MRI_Prostate/p158/x.npy", "MRI_Prostate/seq/T2/x.npy"]);
    assert_eq!(files(&sets[1]), ["CT_ColonCancer/MSD/x.npy"]);
    assert_eq!(sets[0].cases[1].task, "MRI_Prostate");
    for (root, layout, expected) in [
        (root.join("cross_site"), Layout::External, "cross_site|cross_task"),
        (root.clone(), Layout::Internal, "DATASET/TASK[/SEQUENCE]/npy_gts"),
        (root.join("none"), Layout::Internal, "none"),
        (root.join("none"), Layout::External, "none"),
    ] {
        let message = walk(&root, layout).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn every_slice_is_scored_as_published() {
    let root = tempfile::tempdir().unwrap();
    for (index, name) in ["a.npy", "b.npy", "c.npy", "d.npy"].into_iter().enumerate() {
        put(root.path(), "D/CT_Liver", name, &block(32, [4, 5, 11 + index, 12]), 32);
    }
    let sets = walk(root.path(), Layout::Internal).unwrap();
    let mut predictor = Boxes { calls: Vec::new() };
    let mut done = Vec::new();
    let scored = evaluate(&sets[0], true, &mut predictor, &mut |count| {
        done.push(count);
        Ok(())
    })
    .unwrap();
    assert_eq!((predictor.calls, done), (vec![3, 1], vec![3, 4]));
    for (index, row) in scored.rows.iter().enumerate() {
        let area = 8.0 * (8 + index) as f64;
        let frame = 12.0 * (12 + index) as f64;
        assert_eq!((row.first_token, row.best, row.chosen, row.masks.len()), (1, 1, 2, 3));
        assert_eq!(row.best(), Scores { dsc: 1.0, hd95: 0.0, nsd: 1.0 });
        assert_eq!((row.chosen().dsc, row.chosen().hd95), (2.0 * area / (area + frame), 8f64.sqrt()));
    }
    let table = csv(&scored.rows);
    assert!(table.contains("\nD/CT_Liver/a.npy,1.0,0.0,1.0,2,3,0.6153846383094788,2.8284270763397217,"), "{table}");
    let chosen = markdown_of_choice("internal evaluation", &scored.rows[..1]);
    assert!(chosen.contains("  - CT_Liver: DSC (0.6154), HD (2.8284), NSD ("), "{chosen}");
    assert!(chosen.contains("best mask DSC (1.0000)"), "{chosen}");
    let header = "File,DSC,HD,NSD,BestMask,ChosenMask,ChosenDSC,ChosenHD,ChosenNSD,Agreement,\
                  DSC1,BoxAgreement1,Stability1,Consensus1,DSC2,BoxAgreement2,Stability2,Consensus2,\
                  DSC3,BoxAgreement3,Stability3,Consensus3\n";
    assert!(table.starts_with(header), "{table}");
    assert!(table.lines().all(|line| line.split(',').count() == 22), "{table}");
    let rules = markdown_of_rules(&scored.rows);
    for line in [
        "| best mask | 1.0000 | 4 of 4 |",
        "| engine | 0.6372 | 0 of 4 |",
        "| box agreement | 1.0000 | 4 of 4 |",
        "| always mask 3 | 0.6372 | 0 of 4 |",
    ] {
        assert!(rules.contains(line), "{rules}");
    }
}

#[test]
fn wrong_arrays_and_tasks_are_named() {
    let good = block(8, [2, 2, 5, 5]);
    let check = |folder: &str, change: &dyn Fn(&Path), parts: &[&str]| {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), folder, "a.npy", &good, 8);
        change(&root.path().join(folder));
        let sets = walk(root.path(), Layout::Internal).unwrap();
        let mut predictor = Boxes { calls: Vec::new() };
        let message = match evaluate(&sets[0], true, &mut predictor, &mut |_| Ok(())) {
            Ok(scored) => scored.failed[0].to_string(),
            Err(error) => error.to_string(),
        };
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in '{message}'");
        }
        assert!(predictor.calls.is_empty());
    };
    fn write<T: npy::Element>(path: PathBuf, shape: &[usize], values: &[T]) {
        npy::write(&mut fs::File::create(path).unwrap(), shape, values).unwrap();
    }
    check("D/CT_Livr", &|_| (), &["D/CT_Livr/npy_gts/a.npy: task folder", "'Livr'", "nearest is 'Liver'"]);
    check("D/CT_Liver", &|d| fs::remove_file(d.join("npy_imgs/a.npy")).unwrap(), &["npy_imgs/a.npy", "open"]);
    check("D/CT_Liver", &|d| write(d.join("npy_gts/a.npy"), &[8, 4], &[1u8; 32]), &["npy_imgs/a.npy", "[8, 4, 3]"]);
    check("D/CT_Liver", &|d| write(d.join("npy_gts/a.npy"), &[64], &[1u8; 64]), &["npy_gts/a.npy", "[64]"]);
    check("D/CT_Liver", &|d| write(d.join("npy_imgs/a.npy"), &[8, 8], &[1u8; 64]), &["npy_imgs/a.npy", "[8, 8]"]);
    check("D/CT_Liver", &|d| write(d.join("npy_imgs/a.npy"), &[8, 8, 3], &[1f32; 192]), &["npy_imgs/a.npy", "uint8"]);
    check("D/CT_Liver", &|d| fs::write(d.join("npy_imgs/a.npy"), "\u{93}NUMPY").unwrap(), &["npy_imgs/a.npy"]);
}

#[test]
fn empty_labels_and_bad_pairs_do_not_stop_the_others() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.npy", "c.npy", "d.npy", "e.npy"] {
        put(root.path(), "D/CT_Liver", name, &block(8, [2, 2, 5, 5]), 8);
    }
    put(root.path(), "D/CT_Liver", "b.npy", &[0; 64], 8);
    let folder = root.path().join("D/CT_Liver");
    fs::write(folder.join("npy_gts/c.npy"), "nonsense").unwrap();
    fs::remove_file(folder.join("npy_imgs/e.npy")).unwrap();
    let sets = walk(root.path(), Layout::Internal).unwrap();
    let mut predictor = Boxes { calls: Vec::new() };
    let mut done = Vec::new();
    let scored = evaluate(&sets[0], true, &mut predictor, &mut |count| {
        done.push(count);
        Ok(())
    });
    let scored = scored.unwrap();
    let names: Vec<&str> = scored.rows.iter().map(|row| row.file.as_str()).collect();
    assert_eq!(names, ["D/CT_Liver/a.npy", "D/CT_Liver/d.npy"]);
    assert_eq!(scored.empty, ["D/CT_Liver/b.npy"]);
    let failed: Vec<String> = scored.failed.iter().map(ToString::to_string).collect();
    assert!(failed.len() == 2 && failed[0].contains("npy_gts/c.npy") && failed[1].contains("npy_imgs/e.npy"));
    assert_eq!(done.last(), Some(&5));
}

fn row(file: &str, dsc: f64, hd95: f64) -> Row {
    let mut groups: Vec<String> = file.split('/').map(String::from).collect();
    groups.pop();
    let masks = vec![Scores { dsc, hd95, nsd: 0.5 }];
    let candidates = Candidates { logits: &[1.0], side: 1, first_token: 0, prompt: None, predicted_iou: &[] };
    let measures = Measures::new(&candidates);
    Row { file: file.into(), groups, masks, first_token: 0, best: 0, chosen: 0, measures }
}

#[test]
fn published_reports_come_out_byte_for_byte() {
    let Some(folder) = common::shared("published report format", "data/medsegdb-example-results") else { return };
    for (report, title) in [
        ("internal-example/ID", "internal evaluation"),
        ("external-example/OOD-site", "external cross_site evaluation"),
        ("external-example/OOD-task", "external cross_task evaluation"),
        ("external-example/RealWorld-site", "external cross_site evaluation"),
        ("external-example/RealWorld-task", "external cross_task evaluation"),
    ] {
        let path = folder.join(format!("{report}.csv"));
        let published = fs::read_to_string(&path).unwrap();
        let rows: Vec<Row> =
            parse_csv(&published, &path).unwrap().iter().map(|row| self::row(&row.file, row.dsc, row.hd)).collect();
        let first_columns = |text: &str| -> String {
            let line = |line: &str| line.split(',').take(3).collect::<Vec<_>>().join(",") + "\n";
            text.lines().map(line).collect()
        };
        assert_eq!(first_columns(&csv(&rows)), published, "{report}.csv");
        let expected = fs::read_to_string(folder.join(format!("{report}.md"))).unwrap();
        assert_eq!(markdown(title, &rows), expected, "{report}.md");
    }
}

#[test]
fn the_public_example_has_the_published_rows() {
    let check = "the example's folders against its published tables";
    let Some(data) = common::shared(check, "data/medsegdb-example/eval") else { return };
    let Some(results) = common::shared(check, "data/medsegdb-example-results") else { return };
    for (root, layout, folder) in [
        ("ID", Layout::Internal, "internal-example"),
        ("OOD", Layout::External, "external-example"),
        ("RealWorld", Layout::External, "external-example"),
    ] {
        for set in walk(&data.join(root), layout).unwrap() {
            let path = results.join(folder).join(format!("{}.csv", set.name));
            let published = Expected::read(&path).unwrap();
            let expected: Vec<&str> = published.rows.iter().map(|row| row.file.as_str()).collect();
            assert_eq!(files(&set), expected, "{}", set.name);
            let rows = evaluate(&set, true, &mut Boxes { calls: Vec::new() }, &mut |_| Ok(())).unwrap().rows;
            assert!(rows.iter().all(|row| row.best().dsc > 0.3 && row.best().dsc < 1.0), "{rows:?}");
            let compared = published.compare(&[(&set.name, &rows)]);
            assert!(compared.iter().all(|row| matches!(row.outcome, Outcome::Compared { .. })));
            let fails = set.cases.iter().any(|case| case.task != "CT_StomachCancer");
            assert_eq!(compared.iter().any(|row| row.fails), fails, "a box is no liver: {compared:?}");
        }
    }
}

#[test]
fn comparisons_fail_for_missing_and_different_rows() {
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Expected::read(&path)
    };
    let published = "File,DSC,HD\nA/CT_Liver/a.npy,0.9,1.0\nA/CT_Liver/b.npy,0.9,2.0\nA/CT_Liver/c.npy,0.9,1.0\n\
                     T/CT_StomachCancer/d.npy,0.6,13.0\nA/CT_Liver/e.npy,0.9,1.0\n";
    let expected = table("ID.csv", published).unwrap();
    let rows = [
        row("A/CT_Liver/a.npy", 0.9049, 1.0),
        row("A/CT_Liver/b.npy", 0.8949, 3.0),
        row("T/CT_StomachCancer/d.npy", 0.1, 13.0),
        row("A/CT_Liver/e.npy", f64::NAN, 1.0),
    ];
    let other = [row("A/CT_Liver/c.npy", 0.9, 1.0)];
    let fails = |sets: &[(&str, &[Row])]| expected.compare(sets).iter().map(|row| row.fails).collect::<Vec<_>>();
    assert_eq!(fails(&[("ID", &rows), ("other", &other)]), [false, true, true, false, true]);
    assert_eq!(fails(&[("x", &rows), ("other", &other)]), [false, true, false, false, true]);
    let compared = expected.compare(&[("ID", &rows)]);
    let Outcome::Compared { dsc, hd } = compared[1].outcome else { panic!("{compared:?}") };
    assert!((dsc + 0.0051).abs() < 1e-12 && hd == 1.0);
    assert_eq!(compared[2].outcome, Outcome::Missing);
    for (text, part) in [
        ("", "line 1"),
        ("File,DSC\na,1\n", "columns File, DSC and HD"),
        ("File,DSC,HD\n", "at least one row"),
        ("File,DSC,HD\na,x,1\n", "line 2"),
        ("File,DSC,HD\na,1\n", "line 2"),
        ("File,DSC,HD\n\"a,1,1\n", "closing quote"),
    ] {
        let message = table("bad.csv", text).unwrap_err().to_string();
        assert!(message.contains("bad.csv") && message.contains(part), "{message}");
    }
}

#[test]
fn damaged_tables_never_panic() {
    let rows = [row("a/b, \"c\"\n/d.npy", 0.1, 1e-7), row("x/y/z.npy", 0.25, 1.5)];
    let table = csv(&rows);
    for length in 0..table.len() {
        if let Ok(read) = parse_csv(&table[..length], Path::new("cut.csv")) {
            assert!(read.len() <= rows.len());
        }
    }
    fuzz::survive("table", table.as_bytes(), table.len(), 4000, |damaged| {
        if let Ok(text) = String::from_utf8(damaged) {
            let _ = parse_csv(&text, Path::new("damaged.csv"));
        }
    });
}

#[test]
fn fields_survive_writing_and_reading() {
    let odd = "a/b, \"c\"\n/d.npy";
    let rows = [row(odd, 0.1, 1e-7), row("x/y/z.npy", 0.0, f64::INFINITY)];
    let read = parse_csv(&csv(&rows), Path::new("odd.csv")).unwrap();
    assert_eq!((read[0].file.as_str(), read[0].dsc), (odd, f64::from(0.1f32)));
    assert_eq!((read[1].file.as_str(), read[1].hd), ("x/y/z.npy", f64::INFINITY));
    let carriage = parse_csv("\u{feff}HD,File,DSC\r\n1,a,0.5\r\n\r\n", Path::new("crlf.csv")).unwrap();
    assert_eq!((carriage.len(), carriage[0].dsc, carriage[0].hd), (1, 0.5, 1.0));
    for (value, text) in [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (0.1, "0.10000000149011612"),
        (1e-4, "9.999999747378752e-05"),
        (1e-7, "1.0000000116860974e-07"),
        (1e20, "1.0000000200408773e+20"),
        (f64::INFINITY, "inf"),
        (f64::NAN, ""),
    ] {
        assert_eq!(float32_in_full(value), text);
    }
}

#[cfg(feature = "cli")]
mod command {
    use std::process::Output;

    use super::binary::{medsegx, weights};
    use super::*;

    fn eval(root: &Path, layout: &str, out: &Path, more: &[&str]) -> Output {
        let (root, out, weights) = (root.to_str().unwrap(), out.to_str().unwrap(), weights().to_str().unwrap());
        let given = ["eval", root, "--layout", layout, "--weights", weights, "--out", out, "--device", "cpu"];
        medsegx(&[&given, more].concat())
    }

    #[track_caller]
    fn assert_ends(output: &Output, code: i32, part: &str) {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "'{part}' is not in '{text}'");
    }

    #[test]
    fn reports_are_the_same_for_every_batch_and_thread_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        put(&root, "D/CT_Liver", "a.npy", &block(256, [40, 50, 120, 130]), 256);
        put(&root, "D/CT_Liver", "b.npy", &block(100, [10, 20, 50, 60]), 100);
        put(&root, "D/MRI_Prostate/T2", "c.npy", &block(300, [200, 20, 250, 260]), 300);
        let read = |out: &str, name: &str| fs::read(folder.path().join(out).join(name)).unwrap();
        for (out, batch, threads) in [("one", "1", "1"), ("three", "3", "2")] {
            let given = ["--batch", batch, "--threads", threads];
            let output = eval(&root, "internal", &folder.path().join(out), &given);
            assert_ends(&output, 0, "ID: 3 slices");
        }
        for name in ["ID.csv", "ID.md", "ID-choice.md"] {
            assert_eq!(read("one", name), read("three", name), "{name}");
        }
        let table = String::from_utf8(read("one", "ID.csv")).unwrap();
        let names: Vec<&str> = table.lines().map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(names, ["File", "D/CT_Liver/a.npy", "D/CT_Liver/b.npy", "D/MRI_Prostate/T2/c.npy"]);

        // Its own table passes, a changed one does not.
        let own = folder.path().join("one/ID.csv");
        let again = folder.path().join("again");
        assert_ends(&eval(&root, "internal", &again, &["--expect", own.to_str().unwrap()]), 0, "ok ");
        let changed = folder.path().join("changed.csv");
        fs::write(&changed, "File,DSC,HD\nD/CT_Liver/a.npy,1.5,1.0\nD/CT_Liver/z.npy,0.5,1.0\n").unwrap();
        let given = ["--force", "--quiet", "--expect", own.to_str().unwrap(), "--expect", changed.to_str().unwrap()];
        let output = eval(&root, "internal", &again, &given);
        assert_ends(&output, 1, "2 of 5 published rows are missing or differ by more than 0.005 in DSC");
        let text = String::from_utf8_lossy(&output.stdout);
        let columns = |name: &str| -> Vec<&str> {
            text.lines().rfind(|line| line.ends_with(name)).unwrap().split_whitespace().collect()
        };
        let [verdict, published, difference, ..] = columns("D/CT_Liver/a.npy")[..] else { panic!("{text}") };
        assert_eq!((verdict, published, &difference[..2]), ("FAILS", "1.50000", "-1"), "{text}");
        let missing = ["FAILS", "0.50000", "no", "result", "1.00000", "no", "result", "D/CT_Liver/z.npy"];
        assert_eq!(columns("D/CT_Liver/z.npy"), missing, "{text}");
        // An --expect table is never overwritten, not even when asked to replace reports.
        let output = eval(&root, "internal", &folder.path().join("one"), &given);
        assert_ends(&output, 2, "; needs a file of its own");
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        put(&root, "D/CT_Liver", "a.npy", &block(16, [4, 5, 12, 13]), 16);
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("ID.md"), "mine").unwrap();
        assert_ends(&eval(&root, "internal", &out, &[]), 1, "ID.md");
        assert_eq!(fs::read_to_string(out.join("ID.md")).unwrap(), "mine");
        assert_ends(&eval(&root, "external", &out, &[]), 1, "cross_site|cross_task");
        assert_ends(&eval(&root, "sideways", &out, &[]), 2, "sideways");
        put(&root, "D/CT_Livr", "a.npy", &block(16, [4, 5, 12, 13]), 16);
        assert_ends(&eval(&root, "internal", &folder.path().join("new"), &[]), 1, "nearest is 'Liver'");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn the_public_example_runs_on_all_five_sets() {
        let Some(data) = common::shared("eval of the public example", "data/medsegdb-example/eval") else { return };
        let Some(results) = common::shared("eval of the public example", "data/medsegdb-example-results") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        for (set, layout, reports) in [
            ("ID", "internal", &["ID"][..]),
            ("OOD", "external", &["OOD-site", "OOD-task"]),
            ("RealWorld", "external", &["RealWorld-site", "RealWorld-task"]),
        ] {
            let published = results.join(format!("{layout}-example"));
            let tables: Vec<PathBuf> = reports.iter().map(|name| published.join(format!("{name}.csv"))).collect();
            let expect: Vec<&str> = tables.iter().flat_map(|path| ["--expect", path.to_str().unwrap()]).collect();
            // Synthetic weights score nothing, so the comparison has to fail, but with every row found.
            let output = eval(&data.join(set), layout, folder.path(), &expect);
            assert_ends(&output, 1, "published rows are missing or differ by more than");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("no result"), "{output:?}");
            for (name, table) in reports.iter().zip(&tables) {
                let rows = |path: &Path| {
                    let text = fs::read_to_string(path).unwrap();
                    parse_csv(&text, path).unwrap().into_iter().map(|row| row.file).collect::<Vec<_>>()
                };
                assert_eq!(rows(&folder.path().join(format!("{name}.csv"))), rows(table), "{name}");
            }
        }
    }
}
