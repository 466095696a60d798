//! Tables of kernels/README.md that tests compute. `BLESS=1 cargo test` writes them; a plain run compares.

use std::path::Path;

/// Compares the text between `<!-- NAME -->` and `<!-- end of NAME -->` with `table`, or writes it there.
pub fn check(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/README.md");
    let text = std::fs::read_to_string(&path).expect("kernels/README.md can be read");
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("kernels/README.md lacks {start}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("kernels/README.md lacks {end}"));
    if std::env::var_os("BLESS").is_some() {
        let fresh = format!("{before}{start}{table}{end}{after}");
        std::fs::write(&path, fresh).expect("kernels/README.md can be written");
        return;
    }
    for (line, fresh) in found.lines().zip(table.lines()) {
        assert_eq!(line, fresh, "kernels/README.md, {name}: stale; run this test with BLESS=1");
    }
    assert_eq!(found.lines().count(), table.lines().count(), "kernels/README.md, {name}: stale; run with BLESS=1");
}
