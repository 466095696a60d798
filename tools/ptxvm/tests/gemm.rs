//! A small GEMM with all that the real ones use: cp.async in two stages, swizzled shared memory, ldmatrix, mma.

mod common;

use common::gemm::kernel;
use common::{Rng, bytes, words};
use half::f16;
use ptxvm::{Arg, Checks, Class, Launch, Machine, Module};

fn random(rng: &mut Rng, n: usize) -> (Vec<f16>, Vec<u8>) {
    let v: Vec<f16> = (0..n).map(|_| f16::from_f32(rng.unit())).collect();
    let b = v.iter().flat_map(|x| x.to_le_bytes()).collect();
    (v, b)
}

fn product(checks: Checks, threads: usize) -> (Vec<u32>, ptxvm::Report) {
    let (m, n, k) = (64, 48, 192);
    let text = kernel();
    common::ptxas(&text);
    let module = Module::parse(&text).unwrap();
    let mut rng = Rng(0x1234_5678_9abc_def1);
    let ((a, a_bytes), (b, b_bytes)) = (random(&mut rng, m * k), random(&mut rng, n * k));
    let mut gpu = Machine::new().checks(checks).threads(threads);
    let pa = gpu.alloc(a_bytes.len() as u64).unwrap();
    let pb = gpu.alloc(b_bytes.len() as u64).unwrap();
    let pc = gpu.alloc(4 * (m * n) as u64).unwrap();
    gpu.write(pa, &a_bytes).unwrap();
    gpu.write(pb, &b_bytes).unwrap();
    let args = [Arg::U64(pa), Arg::U64(pb), Arg::U64(pc), Arg::U32(n as u32), Arg::U32(k as u32)];
    let params = module.pack("gemm", &args).unwrap();
    let launch = Launch { grid: [n as u32 / 16, m as u32 / 32, 1], block: [64, 1, 1], shared_bytes: 2 * 6144 };
    let report = gpu.launch(&module, "gemm", launch, &params).unwrap_or_else(|e| panic!("{e}"));
    let mut out = bytes(&vec![0; m * n]);
    gpu.read(pc, &mut out).unwrap();
    let out = words(&out);
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|p| a[i * k + p].to_f64() * b[j * k + p].to_f64()).sum();
            let got = f64::from(f32::from_bits(out[i * n + j]));
            assert!((got - exact).abs() < 2e-5, "C[{i},{j}]: {got} instead of {exact}");
        }
    }
    (out, report)
}

#[test]
fn product_is_right_and_free_of_conflicts() {
    let (_, report) = product(Checks::Full, 1);
    let c = &report.counters;
    // 6 CTAs of 2 warps, 3 k-steps of 64, 4 mma-steps of 16, 2 mma each.
    assert_eq!(c.class(Class::Mma), 6 * 2 * 3 * 4 * 2);
    assert_eq!(c.bank_conflicts(), 0, "{report}");
    assert_eq!(c.sectors, c.sectors_ideal, "{report}");
    assert_eq!(c.class(Class::Barrier), 6 * 2 * 3 * 2);
}

#[test]
fn checks_and_threads_change_nothing() {
    let reference = product(Checks::Full, 1).0;
    assert_eq!(product(Checks::Fast, 1).0, reference);
    assert_eq!(product(Checks::Full, 3).0, reference);
}
