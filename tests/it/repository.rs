//! What the documents say about the repository is true: paths exist, versions agree, files stay small.

use std::path::{Path, PathBuf};

/// Lines of one source file; above it, a file holds more than one idea.
const LONGEST_SOURCE: usize = 600;

/// Made from other sources, and checked against them: C knows one header for the whole ABI (`tests/capi/run.sh`).
const GENERATED: [&str; 1] = ["include/medsegx.h"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` with one of these endings, build outputs left out.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "__pycache__" {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// `NAME` or `TARGET` in a path stands for something.
fn is_placeholder(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part);
    stem.len() > 2 && stem != "README" && stem.chars().all(|c| c.is_ascii_uppercase())
}

#[test]
fn every_path_in_the_documents_exists() {
    let mut documents = Vec::new();
    files(root(), &[".md"], &mut documents);
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for span in text.split('`').skip(1).step_by(2) {
            let inside = ["src/", "kernels/", "weights/", "tests/", "benches/", "tools/", "include/", "fuzz/"];
            let is_path = inside.iter().any(|folder| span.starts_with(folder))
                && !span.contains([' ', '*', '<', '{', '(', '\n', '|'])
                && !span.split('/').any(is_placeholder);
            let place = |base: &Path| base.join(span.trim_end_matches('/')).exists();
            if is_path && !place(root()) && !place(document.parent().unwrap()) {
                missing.push(format!("{}: {span}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "paths that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn the_cmake_package_has_this_version() {
    let cmake = read("tests/capi/medsegx-config-version.cmake");
    assert!(cmake.contains(&format!("set(PACKAGE_VERSION \"{}\")", env!("CARGO_PKG_VERSION"))), "{cmake}");
}

#[test]
fn the_changelog_speaks_of_this_version() {
    let changelog = read("CHANGELOG.md");
    let top = changelog.lines().find(|line| line.starts_with("## ")).expect("an entry");
    assert!(top.starts_with(&format!("## {}", env!("CARGO_PKG_VERSION"))), "{top}");
}

#[test]
fn source_files_stay_small() {
    let mut sources = Vec::new();
    files(root(), &[".rs", ".py", ".c", ".h", ".hpp", ".j2", ".sh"], &mut sources);
    let long: Vec<String> = sources
        .iter()
        .filter(|path| !GENERATED.iter().any(|generated| root().join(generated) == **path))
        .map(|path| (path, std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_SOURCE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.strip_prefix(root()).unwrap().display()))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_SOURCE} lines:\n{}", long.join("\n"));
}

/// The C library's rooms are left out: their comments are the header's, laid out for it.
#[test]
fn comment_lines_fit_beside_code() {
    const COLUMNS: usize = 120;
    let mut sources = Vec::new();
    files(root(), &[".rs"], &mut sources);
    let mut long = Vec::new();
    for path in sources.iter().filter(|path| !path.starts_with(root().join("src/capi"))) {
        for (index, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            if line.trim_start().starts_with("//") && line.chars().count() > COLUMNS {
                long.push(format!("{}:{}", path.strip_prefix(root()).unwrap().display(), index + 1));
            }
        }
    }
    assert!(long.is_empty(), "comment lines of more than {COLUMNS} columns:\n{}", long.join("\n"));
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut previous = "";
    let mut silent = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains(" = ") {
            let explained = line.contains('#') || previous.trim_start().starts_with('#');
            if !explained {
                silent.push(line);
            }
        }
        previous = line;
    }
    assert!(silent.is_empty(), "dependencies without a reason:\n{}", silent.join("\n"));
}

#[test]
fn the_default_branch_of_ci_starts_with_the_readmes_test_command() {
    let command = "cargo test --release";
    assert!(read("README.md").contains(&format!("\n{command}\n")));
    let ci = read(".ci/run");
    let first = ci.lines().find(|line| line.starts_with("cargo ")).expect("a cargo command");
    assert_eq!(first, command);
}
