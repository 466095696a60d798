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
    x86_levels();
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
    let (mut list, mut params) = (String::from("&[\n"), String::from("&[\n"));
    for kernel in table::KERNELS.iter().copied().flatten() {
        let path = out.join(format!("{}.ptx", kernel.entry));
        let ptx = expand(&templates, kernel)?;
        write_if_changed(&path, &ptx)?;
        writeln!(list, "    include_str!({path:?}),")?;
        writeln!(params, "    &[{}],", parameters(&ptx).ok_or_else(|| format!("{}: its parameters", kernel.entry))?)?;
    }
    list.push(']');
    params.push(']');
    write_if_changed(&out.join("list.rs"), &list)?;
    write_if_changed(&out.join("params.rs"), &params)?;
    let readme = fs::read_to_string(root.join("kernels/README.md"))?;
    let table = |begin: &str, row: fn(&[&str]) -> Option<String>| {
        let rows = readme.split_once(begin).and_then(|(_, text)| text.split_once("<!-- end of")).map(|(rows, _)| rows);
        let cells = rows.unwrap_or_default().lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        format!("&[\n{}]", cells.filter_map(|cells| row(&cells)).collect::<String>())
    };
    write_if_changed(&out.join("resources.rs"), &table("<!-- registers -->", resources))?;
    Ok(())
}

/// Sets the cfg `x86_levels` where AVX2 and AVX-512 are compiled beside the portable level. A fuzzer looks at parsers:
/// it would spend most of its building on instrumented kernels of levels that it does not need.
fn x86_levels() {
    println!("cargo::rustc-check-cfg=cfg(x86_levels)");
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if is_x86 && env::var_os("CARGO_CFG_FUZZING").is_none() {
        println!("cargo::rustc-cfg=x86_levels");
    }
}

/// Name and type of each parameter of the entry of `ptx`, as Rust.
fn parameters(ptx: &str) -> Option<String> {
    let (_, entry) = ptx.split_once(".entry ")?;
    let (list, _) = entry.split_once('(')?.1.split_once(')')?;
    let parameter = |text: &str| {
        let (kind, name) = text.trim().strip_prefix(".param ")?.split_once(' ')?;
        let kind = match kind {
            ".u64" => "Pointer",
            ".u32" => "U32",
            ".f32" => "F32",
            _ => return None,
        };
        Some(format!("({:?}, Type::{kind}), ", name.trim()))
    };
    list.split(',').map(parameter).collect()
}

/// A row `| kernel | tile | threads | shared | registers sm_80 | ..`.
fn resources(cells: &[&str]) -> Option<String> {
    let [_, entry, _, _, shared, registers @ ..] = cells else { return None };
    let shared: u32 = shared.parse().ok()?;
    // Of the first architecture that it is for.
    let registers: u32 = registers.iter().find_map(|cell| cell.parse().ok())?;
    Some(format!("    ({entry:?}, {registers}, {shared}),\n"))
}

/// The PTX of one kernel: its template with the named constants of its row.
fn expand(templates: &Environment, kernel: &table::Kernel) -> Result<String, minijinja::Error> {
    let names = [
        ("entry", Value::from(kernel.entry)),
        ("target", kernel.target().into()),
        ("threads", kernel.threads.into()),
        ("shared", kernel.shared.into()),
    ];
    let constants = kernel.constants.iter().map(|&(name, value)| (name, Value::from(value)));
    let context: Value = names.into_iter().chain(constants).collect::<std::collections::BTreeMap<_, _>>().into();
    let template = templates.get_template(&format!("{}.ptx.j2", kernel.template))?;
    template.render(context)
}

fn write_if_changed(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) { Ok(()) } else { fs::write(path, text) }
}
