//! The numbers of the network that neither a tensor's shape nor the logits show well enough.

use std::collections::BTreeMap;

use medsegx::graph::op::{self, Norm};
use medsegx::graph::{Graph, Op};
use medsegx::model::{Config, Masks, Preset, Prompts, image_encoder, mask_decoder};

/// Every LayerNorm of a model by the path of its gain, with its eps.
fn eps_by_name(config: &Config) -> BTreeMap<String, f32> {
    let prompts = Prompts { points: 2, mask: true, masks: Masks::Three };
    let mut found = BTreeMap::new();
    for graph in [image_encoder::graph(config, 1), mask_decoder::graph(config, 1, 1, prompts)] {
        for node in &graph.nodes {
            for norm in norms(&node.op) {
                assert!(found.insert(name(&graph, norm), norm.eps).is_none(), "{} twice", node.name);
            }
        }
    }
    found
}

fn name(graph: &Graph, norm: &Norm) -> String {
    graph.params[norm.gain.0].name.trim_end_matches(".weight").to_string()
}

/// The norms of an operation. A new operation with one has to be added here: the counts below would not fit without.
fn norms(op: &Op) -> Vec<&Norm> {
    match op {
        Op::LayerNorm(op::LayerNorm { norm, .. })
        | Op::TokenSelfAttention(op::TokenSelfAttention { norm, .. })
        | Op::TokensToImage(op::TokensToImage { norm, .. })
        | Op::TokenMlp(op::TokenMlp { norm, .. }) => vec![norm],
        Op::MaskEmbed(op::MaskEmbed { norms, .. }) => norms.iter().collect(),
        Op::Upscale(op::Upscale { norms, .. }) => norms.iter().collect(),
        _ => Vec::new(),
    }
}

/// A wrong eps moves the logits by as little as 2e-6, which no tolerance finds: MODEL.md has 1e-6 in the encoder, in
/// its neck and for every LayerNorm2d, and PyTorch's default 1e-5 in the decoder's transformer.
#[test]
fn every_norm_has_its_eps() {
    for (config, upscaling) in [(Preset::VitB.medsegx(), 3), (Preset::VitB.sam(), 1)] {
        let found = eps_by_name(&config);
        let decoder = |name: &str| name.starts_with("mask_decoder.transformer.");
        for (name, &eps) in &found {
            let expected = if decoder(name) { 1e-5 } else { 1e-6 };
            assert_eq!(eps, expected, "{name}");
        }
        let count = |part: &str| found.keys().filter(|name| name.starts_with(part)).count();
        assert_eq!(count("image_encoder.blocks."), 2 * 12);
        assert_eq!(count("image_encoder.neck."), 2);
        assert_eq!(count("prompt_encoder.mask_downscaling."), 2);
        assert_eq!(count("mask_decoder.transformer."), 2 * 4 + 1);
        assert_eq!(count("mask_decoder.output_upscaling."), upscaling);
        assert_eq!(found.len(), 24 + 2 + 2 + 9 + upscaling);
    }
}
