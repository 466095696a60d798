//! `ptxvm FILE...`: reads PTX files as the machine would and lists their entries, or says what it refuses.

use std::process::ExitCode;

use ptxvm::Module;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: ptxvm FILE...");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        match std::fs::read_to_string(file).map_err(|e| e.to_string()).and_then(|text| list(&text)) {
            Ok(lines) => println!("{file}:\n{lines}"),
            Err(error) => {
                eprintln!("{file}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn list(text: &str) -> Result<String, String> {
    let module = Module::parse(text).map_err(|e| e.to_string())?;
    let line = |e: &ptxvm::Entry| {
        let dynamic = if e.dynamic_shared { " and dynamic" } else { "" };
        format!(
            "  {}: {} parameters in {} bytes, {} bytes of static{dynamic} shared memory, at most {} threads",
            e.name,
            e.params.len(),
            e.param_bytes,
            e.static_shared,
            e.max_threads()
        )
    };
    Ok(module.entries().iter().map(line).collect::<Vec<_>>().join("\n"))
}
