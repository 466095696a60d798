//! What the tests share: running a kernel on vectors, random numbers, and ptxas where there is one.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod gemm;

use std::io::Write;
use std::process::Command;

use ptxvm::{Checks, Error, FaultKind, Launch, Machine, Module, Report};

/// The header of every test module.
pub const HEADER: &str = ".version 7.4\n.target sm_80\n.address_size 64\n";

/// One dimension of CTAs and threads.
pub fn line(ctas: u32, threads: u32) -> Launch {
    Launch { grid: [ctas, 1, 1], block: [threads, 1, 1], shared_bytes: 0 }
}

/// A xorshift generator.
pub struct Rng(pub u64);

impl Rng {
    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Uniform in [-1, 1).
    pub fn unit(&mut self) -> f32 {
        self.bits() as i32 as f32 / 2f32.powi(31)
    }
}

/// Little-endian bytes of words.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Words of little-endian bytes.
pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// Assembles the text with ptxas when the environment has one (`PTXAS`, or on the path); a test kernel that it refuses
/// would prove nothing.
pub fn ptxas(text: &str) {
    let program = std::env::var("PTXAS").unwrap_or_else(|_| "ptxas".into());
    let target = text.split(".target").nth(1).and_then(|t| t.split_whitespace().next()).unwrap_or("sm_80");
    let mut file = tempfile::NamedTempFile::with_suffix(".ptx").expect("temporary file");
    file.write_all(text.as_bytes()).expect("temporary file");
    let out = tempfile::NamedTempFile::new().expect("temporary file");
    let arch = format!("-arch={target}");
    match Command::new(&program).arg(arch).arg(file.path()).arg("-o").arg(out.path()).output() {
        Ok(run) => assert!(run.status.success(), "ptxas: {}\n{text}", String::from_utf8_lossy(&run.stderr)),
        Err(_) => println!("SKIPPED: ptxas cross-check, no {program}"),
    }
}

/// Runs `entry` of `text` on one buffer of input words and one of output words (both as `.u64` parameters, input
/// first); returns the output.
pub fn run(text: &str, launch: Launch, input: &[u32], outputs: usize) -> Result<Vec<u32>, Error> {
    run_report(text, launch, input, outputs).map(|(out, _)| out)
}

/// As `run`, with the report.
pub fn run_report(text: &str, launch: Launch, input: &[u32], n: usize) -> Result<(Vec<u32>, Report), Error> {
    ptxas(text);
    let module = Module::parse(text)?;
    let mut gpu = Machine::new().checks(Checks::Full).budget(1 << 20);
    let a = gpu.alloc(4 * input.len().max(1) as u64)?;
    let b = gpu.alloc(4 * n as u64)?;
    gpu.write(a, &bytes(input))?;
    let params = [a.to_le_bytes(), b.to_le_bytes()].concat();
    let report = gpu.launch(&module, "k", launch, &params)?;
    let mut out = vec![0; 4 * n];
    gpu.read(b, &mut out)?;
    Ok((words(&out), report))
}

/// The fault that running gives, or a panic that says what came instead.
pub fn fault(result: Result<Vec<u32>, Error>) -> FaultKind {
    match result {
        Err(Error::Fault(fault)) => fault.kind,
        other => panic!("a fault was expected, found {other:?}"),
    }
}

/// Runs `body` once a vector, on `%a`, `%b`, `%c` (`.b32`, from the vector) into `%d` and `%e` (`.b32`); `declare`
/// holds further `.reg` lines. Returns (d, e) of each vector.
pub fn each(declare: &str, body: &str, vectors: &[[u32; 3]]) -> Vec<[u32; 2]> {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 pin, .param .u64 pout, .param .u32 n) {{
    .reg .b32 %a, %b, %c, %d, %e;
    .reg .u32 %vector, %count;
    .reg .u64 %in, %out;
    .reg .pred %beyond;
    {declare}
    ld.param.u64 %in, [pin];
    ld.param.u64 %out, [pout];
    ld.param.u32 %count, [n];
    mov.u32 %vector, %ctaid.x;
    shl.b32 %vector, %vector, 5;
    mov.u32 %a, %tid.x;
    add.u32 %vector, %vector, %a;
    setp.ge.u32 %beyond, %vector, %count;
    @%beyond exit;
    mad.wide.u32 %in, %vector, 12, %in;
    mad.wide.u32 %out, %vector, 8, %out;
    ld.global.b32 %a, [%in];
    ld.global.b32 %b, [%in+4];
    ld.global.b32 %c, [%in+8];
    mov.b32 %d, 0;
    mov.b32 %e, 0;
    {body}
    st.global.v2.b32 [%out], {{%d, %e}};
    ret;
}}"
    );
    ptxas(&text);
    let module = Module::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let mut gpu = Machine::new();
    let flat: Vec<u32> = vectors.iter().flatten().copied().collect();
    let (a, b) = (gpu.alloc(4 * flat.len() as u64).unwrap(), gpu.alloc(8 * vectors.len() as u64).unwrap());
    gpu.write(a, &bytes(&flat)).unwrap();
    let args = [ptxvm::Arg::U64(a), ptxvm::Arg::U64(b), ptxvm::Arg::U32(vectors.len() as u32)];
    let params = module.pack("k", &args).unwrap();
    let ctas = vectors.len().div_ceil(32) as u32;
    gpu.launch(&module, "k", line(ctas, 32), &params).unwrap_or_else(|e| panic!("{e}"));
    let mut out = vec![0; 8 * vectors.len()];
    gpu.read(b, &mut out).unwrap();
    words(&out).chunks(2).map(|p| [p[0], p[1]]).collect()
}

/// Checks `body` on all vectors against `expected`.
pub fn check(declare: &str, body: &str, vectors: &[[u32; 3]], expected: impl Fn([u32; 3]) -> [u32; 2]) {
    for (v, got) in vectors.iter().zip(each(declare, body, vectors)) {
        let want = expected(*v);
        assert_eq!(got, want, "{body}\non {v:x?}: got {got:x?}, expected {want:x?}");
    }
}

/// Triples of edge values and random words.
pub fn triples(edges: &[u32]) -> Vec<[u32; 3]> {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    let mut all = Vec::new();
    for &a in edges {
        for &b in edges {
            all.push([a, b, edges[rng.bits() as usize % edges.len()]]);
        }
    }
    all.extend((0..64).map(|_| [rng.bits(), rng.bits(), rng.bits()]));
    all
}
