//! Every kernel assembled by NVIDIA's ptxas for every architecture since sm_80: no spills, no local memory. ptxas comes
//! from the PyPI package nvidia-cuda-nvcc==13.0.88; `PTXAS` says where it is, else it is looked for on the path.
//! `PTXAS_NEWEST` says where a newer one is, which has to accept the same with as many registers.
#![cfg(feature = "cuda")]

use crate::common::readme;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use medsegx::backend::Launches;
use medsegx::backend::cuda::dependent;
use medsegx::backend::cuda::kernels::{self, Kernel};

/// Architectures whose machine code differs.
const ARCHITECTURES: [&str; 8] = ["80", "86", "89", "90", "100", "103", "110", "120"];
/// Those of them that know dependent launches.
const DEPENDENT_ARCHITECTURES: [&str; 3] = ["90", "100", "120"];

/// Those of them on which two versions of ptxas are compared.
const COMPARED: [&str; 5] = ["80", "89", "90", "100", "120"];

/// What ptxas says of one kernel on one architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resources {
    registers: u32,
    static_shared: u32,
}

#[test]
fn every_kernel_assembles_without_spills() {
    let ptxas = std::env::var("PTXAS").unwrap_or_else(|_| "ptxas".into());
    if Command::new(&ptxas).arg("--version").output().is_err() {
        crate::common::lacking("ptxas", "every_kernel_assembles_without_spills", "there is no ptxas; set PTXAS");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (kernel, ptx) in kernels::texts() {
        std::fs::write(folder.path().join(format!("{}.ptx", kernel.entry)), ptx).expect("PTX can be written");
    }
    readme::check("registers", &table(&assemble_all(&ptxas, folder.path(), &ARCHITECTURES)));
    // The same kernels as programmatic dependent launch wants them.
    for (kernel, ptx) in kernels::texts() {
        let text = dependent::text(kernel, ptx, Launches::Dependent).expect("every kernel has such a text");
        std::fs::write(folder.path().join(format!("{}.ptx", kernel.entry)), &*text).expect("PTX can be written");
    }
    assemble_all(&ptxas, folder.path(), &DEPENDENT_ARCHITECTURES);
}

/// Kernels to which a newer ptxas gives other registers are named, each with both counts.
#[test]
fn the_newest_ptxas_gives_the_same_registers() {
    let name = "the_newest_ptxas_gives_the_same_registers";
    let (Ok(newest), Ok(ptxas)) = (std::env::var("PTXAS_NEWEST"), std::env::var("PTXAS")) else {
        crate::common::lacking("ptxas-newest", name, "there is no second ptxas; set PTXAS and PTXAS_NEWEST");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (kernel, ptx) in kernels::texts() {
        std::fs::write(folder.path().join(format!("{}.ptx", kernel.entry)), ptx).expect("PTX can be written");
    }
    let [old, new] = [&ptxas, &newest].map(|ptxas| assemble_all(ptxas, folder.path(), &COMPARED));
    let differing = old.iter().filter(|&(key, was)| new[key] != *was);
    let differing: Vec<String> =
        differing.map(|((entry, sm), was)| format!("{entry} on sm_{sm}: {was:?}, {:?}", new[&(*entry, *sm)])).collect();
    assert!(differing.is_empty(), "of {ptxas}, then of {newest}:\n{}", differing.join("\n"));
}

/// Assembles every kernel for every one of `architectures`.
fn assemble_all(
    ptxas: &str,
    folder: &Path,
    architectures: &[&'static str],
) -> BTreeMap<(&'static str, &'static str), Resources> {
    let jobs = kernels::all().flat_map(|kernel| architectures.iter().map(move |&sm| (kernel, sm)));
    let jobs: Vec<(&Kernel, &str)> = jobs.filter(|&(kernel, sm)| runs(kernel, sm)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let work = || {
            while let Some(&(kernel, architecture)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let resources = assemble(ptxas, folder, kernel, architecture);
                found.lock().expect("no thread panicked").insert((kernel.entry, architecture), resources);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    found.into_inner().expect("no thread panicked")
}

/// Whether a kernel is for an architecture: of a target with an `a` for that one alone.
fn runs(kernel: &Kernel, architecture: &str) -> bool {
    ["sm_80", &format!("sm_{architecture}a")].contains(&kernel.target())
}

/// Assembles one kernel; anything but a clean result is a panic with ptxas' own words.
fn assemble(ptxas: &str, folder: &Path, kernel: &Kernel, architecture: &str) -> Resources {
    let source = folder.join(format!("{}.ptx", kernel.entry));
    let target = folder.join(format!("{}.{architecture}.cubin", kernel.entry));
    let own = if kernel.target() == "sm_80" { architecture } else { &kernel.target()[3..] };
    let output = Command::new(ptxas)
        .args(["-v", "-warn-spills", "-warn-lmem-usage", &format!("-arch=sm_{own}")])
        .arg(&source)
        .arg("-o")
        .arg(&target)
        .output()
        .expect("ptxas starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let what = format!("{} on sm_{architecture}", kernel.entry);
    assert!(output.status.success(), "{what}: {text}");
    // "C75.." notes say that ptxas serialised something; they are no warnings.
    for trouble in ["warning", "C75"] {
        assert!(!text.contains(trouble), "{what}: {text}");
    }
    let clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
    assert!(text.contains(clean), "{what}: {text}");
    let registers = number(&text, " registers").unwrap_or_else(|| panic!("{what}: no registers in {text}"));
    // The whole register file is 64 K registers; a block that does not fit cannot be launched.
    assert!(registers * kernel.threads <= 65536, "{what}: {registers} registers of {} threads", kernel.threads);
    Resources { registers, static_shared: number(&text, " bytes smem").unwrap_or(0) }
}

/// The number right before `unit`.
fn number(text: &str, unit: &str) -> Option<u32> {
    let before = &text[..text.find(unit)?];
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn table(found: &BTreeMap<(&str, &str), Resources>) -> String {
    let mut table = String::from(
        "| kernel | tile of a block | threads | shared bytes | registers sm_80 | sm_90 | sm_120 | bound |\n",
    );
    table.push_str("|---|---|---|---|---|---|---|---|\n");
    for kernel in kernels::all() {
        let of = |architecture| found.get(&(kernel.entry, architecture));
        let shared = kernel.shared + of("90").map_or(0, |resources| resources.static_shared);
        let registers = |sm| of(sm).map_or("-".into(), |resources| resources.registers.to_string());
        let registers = ["80", "90", "120"].map(registers).join(" | ");
        let Kernel { entry, tile, threads, bound, .. } = kernel;
        let _ = writeln!(table, "| {entry} | {tile} | {threads} | {shared} | {registers} | {bound} |");
    }
    table
}
