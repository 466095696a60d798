//! The table of warnings' codes: stable, without doubles, and what `docs/codes.md` says.

use std::collections::BTreeSet;
use std::path::Path;

use medsegx::codes::{Code, document};

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes.md");
    if std::env::var_os("MEDSEGX_WRITE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, document(), "MEDSEGX_WRITE_DOCS=1 cargo test --test it codes");
}

#[test]
fn numbers_are_bits_and_names_are_one_each() {
    for (place, code) in Code::ALL.iter().enumerate() {
        assert_eq!(code.number() as usize, place, "{code:?}: numbers have no gaps");
        assert!(place < 64, "{code:?} has a bit");
        assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", code.name());
        assert!(code.meaning().ends_with('.'));
    }
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}
