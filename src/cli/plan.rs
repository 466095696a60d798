//! `medsegx plan`: the steps of a run with shapes, FLOP, bytes and memory.

use std::io::Write;

use medsegx::graph::Plan;
use medsegx::model::{Adapters, Config, Kind, Masks, Prompts, image_encoder, mask_decoder};

/// Show the steps of a run with shapes, FLOP, bytes and memory
#[derive(clap::Args)]
pub struct Args {
    /// Slices in a batch
    #[arg(long, default_value_t = 1)]
    batch: usize,
}

/// Prints both plans.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = vit_b();
    let prompts = Prompts { points: 2, mask: false, masks: Masks::Three };
    let mut out = std::io::stdout().lock();
    for graph in
        [image_encoder::graph(&config, args.batch), mask_decoder::graph(&config, args.batch, args.batch, prompts)]
    {
        let plan = Plan::native(graph);
        let mut flop = 0;
        for (step, node) in plan.graph.nodes.iter().enumerate() {
            let cost = plan.graph.cost(step);
            flop += cost.flop;
            let shape = &plan.graph[node.op.writes()[0]].shape;
            writeln!(out, "{:60} {:22} {shape:?} {:.3} GFLOP", node.name, node.op.name(), cost.flop as f64 * 1e-9)?;
        }
        writeln!(out, "{:.2} GFLOP, arena {:.1} MB", flop as f64 * 1e-9, plan.arena_bytes as f64 * 1e-6)?;
    }
    Ok(())
}

fn vit_b() -> Config {
    let global = (0..12).map(|b| b % 3 == 2).collect();
    let adapters = Adapters {
        experts: 4,
        bottleneck: 16,
        embedding: 16,
        blocks: vec![true; 12],
        modalities: 10,
        organ_rows: [1, 5, 12, 39, 112],
    };
    Config {
        kind: Kind::MedSegX,
        image_size: 256,
        patch: 16,
        width: 768,
        heads: 12,
        head_dim: 64,
        mlp: 3072,
        window: 14,
        global,
        adapters: Some(adapters),
        prompt_width: 256,
        decoder_mlp: 2048,
        iou_hidden: 256,
        upscaling: vec![64, 32, 16, 8],
    }
}
