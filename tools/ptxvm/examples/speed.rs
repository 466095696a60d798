//! How fast the machine runs: lane instructions and mma FLOP a second, on one host thread.
//!
//! `cargo run --release -p ptxvm --example speed`

#[path = "../tests/common/mod.rs"]
mod common;

use common::{HEADER, Rng};
use ptxvm::{Arg, Checks, Class, Launch, Machine, Module};

fn main() {
    for checks in [Checks::Fast, Checks::Full] {
        println!("{checks:?}");
        gemm(checks);
        for (name, body) in loops() {
            arithmetic(checks, name, &body);
        }
    }
}

/// Processor time of this thread, as Linux counts it: other programs on the machine do not disturb it.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let ns = text.split_whitespace().next().and_then(|s| s.parse::<f64>().ok()).expect("nanoseconds");
    ns / 1e9
}

fn gemm(checks: Checks) {
    let (m, n, k) = (256usize, 256usize, 768usize);
    let module = Module::parse(&common::gemm::kernel()).expect("the kernel parses");
    let mut gpu = Machine::new().checks(checks);
    let mut rng = Rng(7);
    let mut operand = |gpu: &mut Machine, n: usize| {
        let data: Vec<u8> = (0..n).flat_map(|_| half::f16::from_f32(rng.unit()).to_le_bytes()).collect();
        let at = gpu.alloc(data.len() as u64).expect("memory");
        gpu.write(at, &data).expect("in bounds");
        at
    };
    let (a, b) = (operand(&mut gpu, m * k), operand(&mut gpu, n * k));
    let c = gpu.alloc(4 * (m * n) as u64).expect("memory");
    let args = [Arg::U64(a), Arg::U64(b), Arg::U64(c), Arg::U32(n as u32), Arg::U32(k as u32)];
    let params = module.pack("gemm", &args).expect("arguments fit");
    let launch = Launch { grid: [n as u32 / 16, m as u32 / 32, 1], block: [64, 1, 1], shared_bytes: 2 * 6144 };
    let start = cpu_seconds();
    let report = gpu.launch(&module, "gemm", launch, &params).expect("the kernel runs");
    let s = cpu_seconds() - start;
    let (c, flop) = (&report.counters, 2.0 * (m * n * k) as f64);
    println!(
        "  gemm {m}x{n}x{k}: {:.3} s, {:.2} GFLOP/s, {:.0} M lane instructions/s, {:.1} instructions an mma",
        s,
        flop / s / 1e9,
        c.threads as f64 / s / 1e6,
        c.issued as f64 / c.class(Class::Mma) as f64
    );
}

/// Bodies of eight instructions, run in a loop.
fn loops() -> Vec<(&'static str, String)> {
    let repeat = |line: &str| line.repeat(8);
    vec![
        ("fma.rn.f32", repeat("fma.rn.f32 %x, %x, %x, %y;\n")),
        ("add.u32", repeat("add.u32 %a, %a, %b;\n")),
        ("mad.wide.u32", repeat("mad.wide.u32 %q, %a, %b, %q;\n")),
        ("ex2.approx.f32", repeat("ex2.approx.f32 %x, %y;\n")),
        ("cvt.rn.f16x2.f32", repeat("cvt.rn.f16x2.f32 %a, %x, %y;\n")),
        ("shfl.sync.bfly", repeat("shfl.sync.bfly.b32 %a, %b, 1, 31, -1;\n")),
        ("ld.shared.f32", repeat("ld.shared.f32 %x, [%s];\n")),
        ("ld.global.v4", repeat("ld.global.v4.f32 {%x, %y, %z, %w}, [%g];\n")),
        ("st.global.v2", repeat("st.global.v2.f32 [%h], {%x, %y};\n")),
        (
            "mma",
            repeat(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%x,%y,%z,%w}, {%a,%a,%a,%a}, {%b,%b}, {%x,%y,%z,%w};\n",
            ),
        ),
        ("ldmatrix.x4", repeat("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%m0,%m1,%m2,%m3}, [%t];\n")),
    ]
}

fn arithmetic(checks: Checks, name: &str, body: &str) {
    let text = format!(
        "{HEADER}.shared .align 16 .b8 s[4096];
.visible .entry k(.param .u64 p) {{
    .reg .b32 %a, %b, %i, %s, %t;
    .reg .b32 %m<4>;
    .reg .f32 %x, %y, %z, %w;
    .reg .u64 %q, %g, %h;
    .reg .pred %p;
    ld.param.u64 %g, [p];
    mov.u32 %a, %tid.x; mov.u32 %b, 3; mov.u32 %i, 4000; mov.u64 %q, 5;
    mov.f32 %x, 0f3f000000; mov.f32 %y, 0f3e800000; mov.f32 %z, %x; mov.f32 %w, %x;
    mad.lo.u32 %t, %a, 16, s; mad.lo.u32 %s, %a, 4, s;
    st.shared.v4.f32 [%t], {{%x, %y, %z, %w}};
    mul.wide.u32 %h, %a, 16; add.u64 %g, %g, %h; mov.u64 %h, %g;
    bar.sync 0;
LOOP:
    {body}
    sub.u32 %i, %i, 1;
    setp.ne.u32 %p, %i, 0;
    @%p bra LOOP;
    st.global.v4.f32 [%g], {{%x, %y, %z, %w}};
    st.global.u32 [%g], %a;
    ret;
}}"
    );
    let module = Module::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let mut gpu = Machine::new().checks(checks);
    let p = gpu.alloc(4096).expect("memory");
    gpu.write(p, &[0; 4096]).expect("in bounds");
    let launch = Launch { grid: [1, 1, 1], block: [128, 1, 1], shared_bytes: 0 };
    let start = cpu_seconds();
    let report = gpu.launch(&module, "k", launch, &p.to_le_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let s = cpu_seconds() - start;
    let c = &report.counters;
    println!(
        "  {name:<18} {:>6.0} M lane instructions/s, {:>5.1} ns a warp instruction",
        c.threads as f64 / s / 1e6,
        s / c.issued as f64 * 1e9
    );
}
