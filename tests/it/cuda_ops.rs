//! Every operation of the CUDA backend, run by ptxvm with all its checks, against arithmetic in f64.
#![cfg(feature = "cuda")]

use crate::common::{op_cases, tolerance};
use medsegx::Error;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;

/// Cases of sizes that no model has, and gates apart from the LayerNorm in front of them: the kernels refuse them by
/// name.
const REFUSED: &[(&str, &str)] = &[
    ("linear", "one row, odd sizes"),
    ("linear", "no bias"),
    ("linear", "bias a token"),
    ("linear", "residual in place"),
    ("layer_norm", "5 channels of size 1"),
    ("gate", "4 experts"),
    ("gate", "6 experts"),
    ("patch_embed", "32 px, patch 8, [32.0, 32.0] valid"),
    ("patch_embed", "48 px, patch 16, [35.0, 20.0] valid"),
    ("conv3x3", "grid 1, 4 to 3"),
    ("conv3x3", "grid 5, 7 to 9"),
    ("conv3x3", "grid 16, 32 to 70"),
    ("attention", "grid 3, window None, 2 heads of 8, size 1"),
    ("attention", "grid 6, window Some(4), 3 heads of 20, size 8"),
    ("attention", "grid 18, window None, 2 heads of 16, size 4"),
    ("attention", "grid 20, window Some(14), 1 heads of 32, size 1"),
    ("attention", "grid 4, window Some(14), 1 heads of 16, size 1"),
    ("convolution", "3 x 3, stride 2, grid 11, 5 to 70"),
    ("convolution", "3 x 3, stride 2, grid 8, 32 to 17"),
    ("depthwise", "grid 2, 5 channels"),
    ("inverted_bottleneck", "grid 35, stride 1, 8 to 33 to 8"),
    ("inverted_bottleneck", "grid 37, stride 2, 5 to 24 to 70"),
    ("inverted_bottleneck", "grid 40, stride 2, 16 to 16 to 9"),
    ("inverted_bottleneck", "grid 1, stride 1, 4 to 8 to 4"),
    ("window_attention", "windows of 7 on 7, 2 heads of 8"),
    ("window_attention", "windows of 3 on 10, 3 heads of 12"),
    ("window_attention", "windows of 7 on 5, 1 heads of 16"),
    ("window_attention", "windows of 4 on 9, 2 heads of 20"),
    ("token_mlp", "7 tokens of 64, hidden 90"),
    ("token_mlp", "6 tokens of 256, hidden 90"),
    ("token_self_attention", "5 tokens of 32, first true"),
    ("token_self_attention", "5 tokens of 32, first false"),
    ("tokens_to_image", "5 tokens of 32, 50 image tokens"),
    ("image_to_tokens", "300 image tokens, 5 tokens of 32"),
    ("token_mlp", "5 tokens of 32, hidden 90"),
    ("upscale", "grid 2, 20 to [5, 3, 7]"),
];

#[test]
fn operations_agree_with_their_definitions() {
    let mut bad = Vec::new();
    for case in op_cases::all() {
        let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full)).unwrap();
        let row = tolerance::find(tolerance::F16_OPS, case.op);
        let refused = REFUSED.contains(&(case.op, &*case.name));
        let distances = match case.try_distances(&backend) {
            Ok(distances) if !refused => distances,
            Err(Error::Tensor { .. }) if refused => continue,
            Ok(_) => {
                bad.push(format!("{} ({}): was not refused", case.op, case.name));
                continue;
            }
            Err(error) => {
                bad.push(format!("{} ({}): {error}", case.op, case.name));
                continue;
            }
        };
        for distance in distances {
            let share = 100.0 * distance / row.limit;
            let line = format!("{} ({}): {distance:.1e}, {share:.0} % of the tolerance", case.op, case.name);
            println!("{line} ({})", row.reason);
            if distance.is_nan() || distance > row.limit {
                bad.push(line);
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
