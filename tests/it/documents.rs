//! Pages of `docs/` that the binary makes, and commands of the README.

use std::path::{Path, PathBuf};

use medsegx::prompt::{Grid, PixelBox, parse_boxes};
use medsegx::volume::{OpenOptions, Volume};

use crate::common::command::medsegx;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn help(of: &[&str]) -> String {
    let output = medsegx(&[of, &["--help"]].concat());
    assert!(output.status.success(), "{of:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|&name| name != "help").map(String::from).collect()
}

#[test]
fn the_command_line_is_written_down() {
    let general = help(&[]);
    let mut page = String::from(
        "# The command line\n\nWhat `medsegx COMMAND --help` prints; `MEDSEGX_WRITE_DOCS=1 cargo test --release --test it documents::` \
         writes this page.\n",
    );
    page += &format!("\n## medsegx\n\n```text\n{general}\n```\n");
    let names = subcommands(&general);
    assert!(names.len() >= 10 && names.iter().any(|name| name == "segment"), "{names:?}");
    for name in names {
        page += &format!("\n## medsegx {name}\n\n```text\n{}\n```\n", help(&[&name]));
    }
    let path = root().join("docs/cli.md");
    if std::env::var_os("MEDSEGX_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (found, expected)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "docs/cli.md, line {}: MEDSEGX_WRITE_DOCS=1 cargo test --test it documents::",
            line + 1
        );
    }
    assert_eq!(written.lines().count(), page.lines().count(), "docs/cli.md");
}

/// Every boxes file that the pages show, on the sample volume; the one in millimetres is the README's box.
#[test]
fn boxes_files_of_the_pages_are_read() {
    let volume = Volume::open(root().join("tests/data/phantom.nii.gz"), &OpenOptions::default()).unwrap();
    let grid = Grid::of(&volume, 2);
    let mut spaces = Vec::new();
    for page in ["docs/prompts.md", "docs/formats.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        for shown in blocks.filter(|block| block.contains("\"targets\"")) {
            let targets =
                parse_boxes(shown.as_bytes(), page.as_ref(), &grid).unwrap_or_else(|e| panic!("{e}: {shown}"));
            let space = serde_json::from_str::<serde_json::Value>(shown).unwrap()["space"].clone();
            if space == "lps" {
                let readme = PixelBox { x0: 22, y0: 43, x1: 111, y1: 109 };
                assert_eq!(targets[0].boxes, (9..16).map(|slice| (slice, readme)).collect());
            }
            spaces.push(space);
        }
    }
    assert_eq!(spaces, ["voxel", "lps", "voxel"]);
}

/// The README's first command, and what it says: voxels within a hundredth, since sums of other instructions round
/// otherwise.
#[test]
fn the_first_command_says_what_the_readme_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("medsegx segment tests/data/")).unwrap();
    let shown = readme.split("<!-- first -->\n```text\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mask = folder.path().join("liver.nii.gz");
    let words = format!("segment {}/tests/data/{command}", root().display());
    let arguments: Vec<&str> = words.split_whitespace().collect();
    let (output, before) = arguments.split_last().unwrap();
    assert_eq!(*output, "liver.nii.gz");
    let run = medsegx(&[before, &[mask.to_str().unwrap(), "--device", "cpu"]].concat());
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap().replace(mask.to_str().unwrap(), "liver.nii.gz");
    let voxels = |text: &str| -> (String, f64) {
        let (before, rest) = text.trim_end().split_once(" slices, ").unwrap();
        let (count, after) = rest.split_once(' ').unwrap();
        (format!("{before} {after}"), count.parse().unwrap())
    };
    let ((words, count), (shown_words, shown_count)) = (voxels(&said), voxels(shown));
    assert_eq!(words, shown_words);
    assert!((count / shown_count - 1.0).abs() < 0.01, "{count} voxels, README.md: {shown_count}");
}

/// Markdown files of the repository outside of what is built.
fn pages() -> Vec<PathBuf> {
    let listed =
        |folder: &str| std::fs::read_dir(root().join(folder)).into_iter().flatten().flatten().map(|file| file.path());
    let folders = [
        "",
        "docs",
        "docs/soup",
        "examples",
        "examples/cluster",
        "tools/ptxvm",
        "kernels",
        "weights",
        "fuzz",
        "python",
    ];
    folders
        .iter()
        .flat_map(|folder| listed(folder))
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let outside = file.is_empty() || file.contains("://") || file.contains(char::is_whitespace);
            if !outside && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}

/// Long flags of `medsegx` commands in the README and in `docs/`, each with its command.
#[test]
fn commands_of_the_pages_exist() {
    let general = help(&[]);
    let helps: Vec<(String, String)> =
        subcommands(&general).into_iter().map(|name| (name.clone(), help(&[&name]))).collect();
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        for line in text.lines().map(str::trim).filter_map(|line| line.strip_prefix("medsegx ")) {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            let Some((_, help)) = helps.iter().find(|(known, _)| known == name) else { continue };
            for flag in words.take_while(|word| !matches!(*word, "#" | "--")).filter(|word| word.starts_with("--")) {
                let flag = flag.trim_end_matches([',', '.', ';', '`', ')']).split('=').next().unwrap();
                assert!(help.contains(flag), "{}: medsegx {name} has no {flag}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen} flags were looked at");
}

#[test]
fn requirements_name_tests_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/soup/requirements.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| R")).collect();
    assert!(rows.len() >= 18, "{} requirements", rows.len());
    for row in rows {
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let (module, name) = test.split_once("::").unwrap();
            let file = std::fs::read_to_string(root().join(format!("tests/it/{module}.rs"))).unwrap();
            assert!(file.contains(&format!("#[test]\nfn {name}()")), "{test} is not a test");
        }
    }
}
