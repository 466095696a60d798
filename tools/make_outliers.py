"""Golden tensors of a tiny model some of whose LayerNorm gains are 50 times larger, as real SAM encoders have channels
that stand out. Computed in float64 by reference.py of the folder given (../shared/oracle):

    python3 tools/make_outliers.py ../shared/oracle tests/data/outliers.safetensors
"""

import sys

import numpy as np
from safetensors.numpy import save_file

# Every 32nd channel of these LayerNorms; tests/it/outliers.rs does the same to the synthetic weights.
NORMS = ["image_encoder.blocks.0.norm2.weight", "image_encoder.blocks.1.norm1.weight", "image_encoder.blocks.2.norm2.weight"]
STEP, FACTOR = 32, 50.0


def main(oracle, target):
    sys.path.insert(0, oracle)
    import reference
    import synth

    class Outliers(reference.Weights):
        def __call__(self, name, *shape):
            tensor = super().__call__(name, *shape)
            if name in NORMS:
                tensor[::STEP] *= FACTOR
            return tensor

    reference.Weights = Outliers
    image = synth.image(0).astype(float)
    logits, stages = reference.medsegx("tiny", image, [60, 40, 200, 190], 2, [1, 4, 17, 59])
    tensors = {f"case0.{name}": stages[name] for name in stages if name.endswith("gate")}
    tensors["case0.neck"] = stages["neck"][:, ::2, ::2]
    tensors["case0.logits"] = logits[:, ::4, ::4]
    save_file({name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}, target)
    for name in stages:
        print(f"{name:24} largest {np.abs(stages[name]).max():9.3g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
