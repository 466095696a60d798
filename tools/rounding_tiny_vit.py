#!/usr/bin/env python3
"""Where the CUDA backend's error comes from with LiteMedSAM's published weights: the oracle's reference.py in float64 with
chosen operands rounded to f16 as the kernels round them. Prints the relative L2 error of the embedding that this alone
makes, and that of the worst stage. Needs numpy 2, scipy, safetensors and the weights that `tools/litemedsam.py weights` names:

    python3 tools/rounding_tiny_vit.py target/litemedsam/lite_medsam.safetensors ../shared/oracle/litemedsam [--case N]
"""

import argparse
import json
import pathlib
import re
import sys

import numpy as np

STEM = r"patch_embed\.seq\.2"
# Operands by the module that reads them: `:x` the tokens, `:w` the weights, `:out` what is stored of the result.
GROUPS = {
    "everything but the stem, as the kernels do": rf"^(?!.*{STEM})",
    "the stem too": r"",
    "the stem's channels": rf"{STEM}:x",
    "the stem's second weights": rf"{STEM}:w",
    "input of the first bottleneck": r"layers\.0\.blocks\.0\.conv1:x",
    "first weights of the first bottleneck": r"layers\.0\.blocks\.0\.conv1:w",
    "wide channels of the first bottleneck": r"layers\.0\.blocks\.0\.conv[23]:x",
    "the rest of stage 0": r"layers\.0\.blocks\.(1|0\.conv3:w)",
    "the merges": r"downsample",
    "attention": r"attn",
    "MLPs": r"mlp",
    "the neck's weights": r"neck",
    "everything but stem and input of the first bottleneck": rf"^(?!.*({STEM}|layers\.0\.blocks\.0\.conv1:x))",
}


class Rounded:
    """The functions of the reference that the kernels give f16 operands, with those rounded that `pattern` names."""

    def __init__(self, reference, pattern):
        self.pattern, self.depthwise, self.folded = re.compile(pattern), reference.depthwise, reference.folded

    def half(self, name, x):
        return x.astype(np.float16).astype(x.dtype) if self.pattern.search(name) else x

    def pointwise(self, w, name, x):
        weight, bias = self.folded(w, name)
        if name.endswith("patch_embed.seq.0"):  # of pixels, in f32
            return x @ weight[:, :, 0, 0].T + bias
        return self.half(f"{name}:x", x) @ self.half(f"{name}:w", weight[:, :, 0, 0]).T + bias

    def narrow_depthwise(self, w, name, x, stride=1):
        """A bottleneck's reads wide channels from memory; a local convolution reads the residual stream."""
        return self.depthwise(w, name, self.half(f"{name}:x", x) if name.endswith("conv2") else x, stride)

    def linear(self, w, name, x):
        sums = self.half(f"{name}:x", x) @ self.half(f"{name}:w", w[f"{name}.weight"]).T + w[f"{name}.bias"]
        return self.half(f"{name}:out", sums) if name.endswith("qkv") else sums

    def weights(self, w):
        return {name: self.half(name, x) if re.search(r"neck\.[02]\.", name) else x for name, x in w.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("oracle", type=pathlib.Path)
    parser.add_argument("--case", type=int, default=0)
    args = parser.parse_args()
    sys.path.insert(0, str(args.oracle))
    import reference
    from safetensors.numpy import load_file
    read = {name: x.astype(np.float64) for name, x in load_file(args.weights).items()}
    case = json.loads((args.oracle / "cases.json").read_text())["cases"][args.case]
    golden = load_file(args.oracle / f"{case['name']}.safetensors")
    print("| rounded to f16 | embedding | worst stage |\n|---|---|---|")
    for group, pattern in GROUPS.items():
        rounded = Rounded(reference, pattern)
        reference.pointwise, reference.linear = rounded.pointwise, rounded.linear
        reference.depthwise = rounded.narrow_depthwise
        found = reference.encoder(rounded.weights(read), reference.model_input(golden["picture"]))
        reference.depthwise = rounded.depthwise
        errors = {}
        # What attention and MLP add is no value of the kernels.
        for name in (name for name in found if name in case["tensors"] and not name.endswith((".attn", ".mlp"))):
            expected = golden[name].reshape(-1).astype(np.float64)
            off = found[name].reshape(-1)[:: case["tensors"][name]["stride"]] - expected
            errors[name] = np.linalg.norm(off) / np.linalg.norm(expected)
        worst = max(errors, key=errors.get)
        print(f"| {group} | {errors['embedding']:.1e} | {errors[worst]:.1e} {worst} |", flush=True)


if __name__ == "__main__":
    main()
