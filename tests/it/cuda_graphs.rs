//! Runs of the CUDA backend as recordings, on ptxvm: the same bits as without, one launch a run, nothing allocated, and
//! recordings gone before the memory that they use.
#![cfg(feature = "cuda")]

use crate::common::watched;

use std::sync::Arc;

use crate::common::golden::{Case, Golden};
use crate::common::run::{boxes, segment, synthetic};
use crate::common::tolerance;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::backend::cuda::dry_run::launches;
use medsegx::executor::Session;
use medsegx::graph::op;
use medsegx::graph::plan::Place;
use medsegx::graph::{Element, Graph, Op, Role, ValueId};
use medsegx::model::{Masks, Preset, Prompts, image_encoder, mask_decoder};
use watched::{Counts, Seen, Watched};

type Watch = Cuda<Watched<Interpreter>>;

fn session(count: usize) -> (Session<Watch>, Arc<Seen>) {
    let (driver, seen) = Watched::new(Interpreter::new(2, ptxvm::Checks::Fast));
    let network = synthetic(&Preset::Tiny.medsegx(), Cuda::new(driver).unwrap());
    (Session::new(network, boxes(count)).unwrap(), seen)
}

fn cases() -> [Case; 2] {
    let golden = Golden::portable("tiny", tolerance::F16);
    [golden.case(0), golden.case(1)]
}

/// Uploads of the encoder: pixels with scaling, which lie side by side, and context; of the decoder: slots, points,
/// labels.
const COPIES: usize = 5;

#[test]
fn recorded_runs_give_the_bits_of_the_first_and_allocate_nothing() {
    let ([one, other], (mut session, seen)) = (cases(), session(2));
    let pairs = [vec![one.clone(), other.clone()], vec![other, one]];
    // Each of the two orders first outside of a recording.
    let first: Vec<_> = pairs.iter().map(|pair| segment(&mut self::session(2).0, pair)).collect();
    let mut nodes = 0;
    for run in 0..4 {
        let mut found = Default::default();
        let counts = seen.during(|| found = segment(&mut session, &pairs[run % 2]));
        assert!(found == first[run % 2], "run {run}: other bits than outside of a recording");
        if run > 0 {
            let expected =
                Counts { captured: counts.captured, replays: 2, queued_writes: COPIES, reads: 2, ..Counts::default() };
            assert_eq!(counts, expected, "run {run}");
            assert_eq!(counts.captured, if run == 1 { nodes } else { 0 }, "run {run}: captured launches");
        } else {
            nodes = counts.launches;
            assert_eq!((counts.allocations, counts.replays, counts.queued_writes), (0, 0, COPIES));
        }
    }
}

#[test]
fn every_number_of_slices_has_its_own_recording() {
    let ([one, other], (mut session, seen)) = (cases(), session(2));
    for (run, slices) in [vec![one.clone()], vec![one.clone(), other], vec![one]].iter().enumerate() {
        let counts = seen.during(|| {
            segment(&mut session, slices);
        });
        assert_eq!(
            counts.replays,
            if run == 2 { 2 } else { 0 },
            "run {run}: only a number that came before is replayed"
        );
    }
    assert_eq!(seen.recordings().0, 2, "one of the encoder and one of the decoder");
}

#[test]
fn recordings_are_dropped_before_their_memory() {
    let ([one, _], (mut session, seen)) = (cases(), session(1));
    for _ in 0..2 {
        segment(&mut session, std::slice::from_ref(&one));
    }
    assert_eq!(seen.recordings(), (2, 0));
    drop(session);
    assert_eq!(seen.recordings(), (0, 0), "recordings left, buffers freed before those that use them");
}

#[test]
fn the_ledger_counts_what_a_run_launches() {
    let ([one, _], (mut session, seen)) = (cases(), session(1));
    let counts = seen.during(|| {
        segment(&mut session, std::slice::from_ref(&one));
    });
    let nodes = |graph| launches(graph, false).unwrap().1.iter().map(Vec::len).sum::<usize>();
    let [encoder, decoder] = graphs(Preset::Tiny);
    assert_eq!(counts.launches, nodes(encoder) + nodes(decoder));
}

/// Encoder and decoder of one slice with one box.
fn graphs(preset: Preset) -> [Graph; 2] {
    let prompts = Prompts { points: 2, mask: false, masks: Masks::Three };
    let config = preset.medsegx();
    [image_encoder::graph(&config, 1), mask_decoder::graph(&config, 1, 1, prompts)]
}

/// Every node of a graph costs about a microsecond at batch 1, whatever it does.
#[test]
fn nodes_of_the_graphs() {
    for (preset, encoder, decoder) in [(Preset::VitB, 89, 19), (Preset::VitL, 173, 19), (Preset::VitH, 229, 19)] {
        let found = graphs(preset).map(|graph| launches(graph, false).unwrap().1.iter().map(Vec::len).sum::<usize>());
        println!("{}: {} nodes of the encoder, {} of the decoder", preset.name(), found[0], found[1]);
        assert_eq!(found, [encoder, decoder], "{}", preset.name());
    }
    let (plan, steps) = launches(graphs(Preset::VitB)[0].clone(), false).unwrap();
    let of_block = |name: &str| name.starts_with("image_encoder.blocks.1.");
    let block = plan
        .graph
        .nodes
        .iter()
        .zip(&steps)
        .filter(|(node, _)| of_block(&node.name) || node.name == "image_encoder.blocks.1");
    let kernels: Vec<_> = block.flat_map(|(_, launched)| launched).map(|launch| launch.kernel.template).collect();
    let feed_forward = ["layer_norm", "gemm", "gemm"];
    assert_eq!(kernels, [&["layer_norm", "gemm", "attention", "gemm"][..], &feed_forward].concat());
}

#[test]
fn the_model_of_time_adds_up() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_medsegx"));
    let output =
        command.args(["bench", "floors", "--batch", "1,32", "--card", "h100,rtx4090", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), 4);
    for report in reports {
        let number = |name: &str| report[name].as_f64().unwrap();
        let rows = report["rows"].as_array().unwrap();
        let sum = |name: &str| -> f64 {
            rows.iter().map(|row| row["count"].as_f64().unwrap() * row[name].as_f64().unwrap()).sum()
        };
        assert_eq!(number("nodes"), 108.0);
        for name in ["floor_us", "counted_us"] {
            assert!((sum(name) - number(name)).abs() < 1e-6 * number(name), "{name}");
        }
        // A floor is under what the counts say, and every parameter of the network is read once: 2 bytes each at least.
        assert!(number("floor_us") < number("counted_us") && number("counted_us") < number("total_us"));
        assert!(sum("param_bytes") > 2.0 * 90e6, "{}", sum("param_bytes"));
    }
    let ratio = reports[2]["floor_us"].as_f64().unwrap() / reports[0]["floor_us"].as_f64().unwrap();
    assert!((8.0..40.0).contains(&ratio), "32 slices take {ratio} times as long as one");
}

/// The image of the decoder is made with its tokens, while other blocks still read what the tokens are made of: no plan
/// may put it there, however well it fits.
#[test]
fn image_and_tokens_are_made_at_once() {
    for image_tokens in [256, 1] {
        let (mut g, p) = (Graph::new(1), 4);
        let points = g.value("points", &[64, 2], Element::F32, Role::Input);
        let labels = g.value("labels", &[64], Element::I32, Role::Input);
        let slot = g.value("slot", &[1], Element::I32, Role::Input);
        let embedding = g.value("embedding", &[image_tokens, p], Element::F32, Role::Input);
        let [gaussian, point_embeddings, not_a_point, output_tokens] =
            [("gaussian", [2, p / 2]), ("points", [4, p]), ("none", [1, p]), ("outputs", [5, p])]
                .map(|(name, shape)| g.tensor(name, &shape));
        let no_mask = g.tensor("no mask", &[1, p]);
        let out = g.value("tokens", &[69, p], Element::F32, Role::Output);
        let params = Op::PromptTokens(op::PromptTokens {
            points,
            labels,
            gaussian,
            point_embeddings,
            not_a_point,
            output_tokens,
            image_size: 256,
            out,
        });
        g.push("tokens", params);
        let out = g.value("image", &[image_tokens, p], Element::F32, Role::Output);
        g.push("image", Op::ImageSource(op::ImageSource { embedding, slot, dense: None, no_mask, out }));
        let (plan, steps) = launches(g, false).unwrap();
        let range = |id: ValueId| match plan.places[id.0] {
            Place::Arena(start) => start..start + plan.graph[id].bytes(),
            Place::Embedding => 0..0,
        };
        let image = range(out);
        for read in [points, labels, slot].map(range) {
            assert!(image.end <= read.start || read.end <= image.start, "{image:?} and {read:?}");
        }
        assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [1], "{image_tokens} tokens of the image");
    }
}
