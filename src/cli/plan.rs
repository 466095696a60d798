//! `medsegx plan`: the steps of a run with shapes, FLOP, bytes and memory.

use std::io::Write;

use medsegx::graph::Plan;
use medsegx::model::{Masks, Preset, Prompts, image_encoder, mask_decoder};

/// Show the steps of a run with shapes, FLOP, bytes and memory
#[derive(clap::Args)]
pub struct Args {
    /// Slices in a batch
    #[arg(long, default_value_t = 1)]
    batch: usize,
}

/// Prints both plans.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = Preset::VitB.medsegx();
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
