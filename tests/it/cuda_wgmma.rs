//! Products by `wgmma`, the kernels of sm_90a: which launches take them, one block of vit_b, and each of their
//! synchronisations left out, which ptxvm has to notice. Their bits are compared in `cuda_kernels.rs`.
#![cfg(feature = "cuda")]

use crate::common::golden::Golden;
use crate::common::one_op::{Case, Random};
use crate::common::run::{boxes, encode, synthetic};
use crate::common::watched::Watched;
use crate::common::{relative_l2, tolerance};
use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::Driver;
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::backend::cuda::dry_run::launches;
use medsegx::executor::Session;
use medsegx::graph::op::{self, Activation};
use medsegx::graph::{Bias, Op};
use medsegx::model::{Config, Preset, image_encoder};

/// Rows that take the large tile: more than 96 tiles of 128 x 128, and no side a multiple of one.
const PRODUCT: [usize; 4] = [5, 250, 136, 1272];

/// A product of f16 operands to f32.
fn product(driver: impl Driver) -> Result<Vec<f32>, medsegx::Error> {
    let [batch, tokens, depth, columns] = PRODUCT;
    let random = &mut Random(9);
    let mut case = Case::new(batch);
    let input = case.floats(&[tokens, depth], &random.halves(batch * tokens * depth, 1.0));
    let weight = case.param(&[columns, depth], &random.halves(columns * depth, 0.1));
    let out = case.output(&[tokens, columns]);
    let op = op::Linear {
        input,
        weight,
        bias: Bias::None,
        activation: Activation::Identity,
        gated: None,
        residual: None,
        out,
    };
    case.graph.push("product", Op::Linear(op));
    Ok(case.run(&Cuda::new(driver)?, batch, &[out])?.remove(0))
}

fn interpreter(checks: Checks) -> Interpreter {
    Interpreter::new(2, checks).with_wgmma()
}

#[test]
fn a_full_batch_takes_them_for_the_four_products_of_a_block() {
    let encoder = |batch| image_encoder::graph(&Preset::VitB.medsegx(), batch);
    let of = |batch, wgmma| {
        let (plan, steps) = launches(encoder(batch), wgmma).unwrap();
        let entries = steps.into_iter().map(|step| step.iter().map(|launch| launch.kernel.entry).collect::<String>());
        plan.graph.nodes.iter().map(|node| node.name.clone()).zip(entries).collect::<Vec<_>>()
    };
    let by_wgmma = of(8, true);
    for product in ["attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"] {
        let name = format!("image_encoder.blocks.3.{product}");
        let found = by_wgmma.iter().find(|(node, _)| *node == name || node.starts_with(&name));
        let (_, entry) = found.unwrap_or_else(|| panic!("no {name} in {by_wgmma:?}"));
        assert!(entry.starts_with("gemm_128x128wgmma_f16_"), "{name}: {entry}");
    }
    for (batch, wgmma) in [(8, false), (1, true), (1, false)] {
        assert!(of(batch, wgmma).iter().all(|(_, entry)| !entry.contains("wgmma")), "batch {batch}, wgmma {wgmma}");
    }
    // All that is not such a product is launched as ever.
    for ((name, with), (_, without)) in by_wgmma.iter().zip(of(8, false)) {
        assert_eq!(with.replace("wgmma", ""), without, "{name}");
    }
    // And whoever measures can have mma.sync on such a device.
    let cuda = Cuda::new(interpreter(Checks::Fast)).unwrap();
    assert!(cuda.driver().wgmma() && !Cuda::new(Interpreter::new(1, Checks::Fast)).unwrap().driver().wgmma());
}

/// The first block of vit_b, over the whole grid.
fn one_block() -> Config {
    let mut config = Preset::VitB.medsegx();
    config.global = vec![true];
    if let Some(adapters) = &mut config.adapters {
        adapters.blocks = vec![true];
    }
    config
}

fn block<B: Backend>(backend: B) -> Vec<f32> {
    let cases: Vec<_> = (0..8).map(|case| Golden::portable("tiny", tolerance::F16).case(case % 3)).collect();
    let mut session = Session::for_probing(synthetic(&one_block(), backend), boxes(cases.len())).unwrap();
    encode(&mut session, &cases);
    session.probe("image_encoder.blocks.0").unwrap()
}

#[test]
fn a_block_of_vit_b() {
    let (driver, seen) = Watched::new(interpreter(Checks::Fast));
    let found = block(Cuda::new(driver).unwrap());
    assert!(seen.counts().launches > 0);
    let row = tolerance::find(tolerance::F16, "block");
    let distance = relative_l2(&found, &block(Cpu::new(CpuOptions::default()).unwrap()));
    println!("{distance:.2e}, {:.0} % of the tolerance ({})", 100.0 * distance / row.limit, row.reason);
    assert!(distance <= row.limit, "{distance}");
    let mma_sync = Cuda::new(interpreter(Checks::Fast)).unwrap().with_mma_sync();
    assert!(block(mma_sync) == found, "other bits by mma.sync, of sums in the same order");
}

/// What a product says whose kernel lacks `instruction`.
fn without(instruction: &'static str) -> String {
    let (driver, _) = Watched::new(interpreter(Checks::Full));
    let driver = driver.editing(move |kernel, ptx| {
        if kernel.entry != "gemm_128x128wgmma_f16_f32" {
            return ptx.into();
        }
        let at = ptx.find(instruction).unwrap_or_else(|| panic!("{} has no {instruction}", kernel.entry));
        let end = at + ptx[at..].find(';').unwrap() + 1;
        [&ptx[..at], &ptx[end..]].concat()
    });
    product(driver).expect_err(instruction).to_string()
}

#[test]
fn products_without_their_synchronisation() {
    product(interpreter(Checks::Full)).expect("the kernel as it ships");
    for (instruction, expected) in [
        ("cp.async.wait_group", "cp.async that was not waited for"),
        ("fence.proxy.async", "without fence.proxy.async"),
        ("bar.sync 0", "race on shared memory"),
        ("wgmma.fence", "no wgmma.fence"),
        ("wgmma.commit_group", "before the wait of the wgmma"),
        ("wgmma.wait_group", "before the wait of the wgmma"),
    ] {
        let message = without(instruction);
        assert!(message.contains("gemm_128x128wgmma_f16_f32, line "), "{instruction}: {message}");
        assert!(message.contains(expected), "{instruction}: {message}");
    }
}
