//! Expands `kernels/*.ptx.j2` into the plain PTX that the library embeds, one text a kernel of the table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};

#[allow(dead_code, reason = "the library reads the columns that describe a kernel, this script those that make it")]
#[path = "src/backend/cuda/table/mod.rs"]
mod table;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?).join("ptx");
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=src/backend/cuda/table");
    println!("cargo::rerun-if-changed=build.rs");
    fs::create_dir_all(&out)?;

    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    templates.set_syntax(syntax.build()?);
    for file in fs::read_dir(root.join("kernels"))? {
        let path = file?.path();
        if let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| n.ends_with(".j2")) {
            templates.add_template_owned(name.to_string(), fs::read_to_string(&path)?)?;
        }
    }
    let mut list = String::from("&[\n");
    for kernel in table::KERNELS.iter().copied().flatten() {
        let path = out.join(format!("{}.ptx", kernel.entry));
        write_if_changed(&path, &expand(&templates, kernel)?)?;
        writeln!(list, "    include_str!({path:?}),")?;
    }
    list.push(']');
    write_if_changed(&out.join("list.rs"), &list)?;
    Ok(())
}

/// The PTX of one kernel: its template with the named constants of its row.
fn expand(templates: &Environment, kernel: &table::Kernel) -> Result<String, minijinja::Error> {
    let names =
        [("entry", Value::from(kernel.entry)), ("threads", kernel.threads.into()), ("shared", kernel.shared.into())];
    let constants = kernel.constants.iter().map(|&(name, value)| (name, Value::from(value)));
    let context: Value = names.into_iter().chain(constants).collect::<std::collections::BTreeMap<_, _>>().into();
    let template = templates.get_template(&format!("{}.ptx.j2", kernel.template))?;
    template.render(context)
}

fn write_if_changed(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) { Ok(()) } else { fs::write(path, text) }
}
