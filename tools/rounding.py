"""Where the CUDA backend's error comes from: reference.py in float64 with the operands of chosen products rounded to f16
as the kernels round them, and in float32 throughout. Prints the relative L2 errors of the worst gate, neck and logits that this alone
makes, for the small model's portable cases and for the outliers of make_outliers.py. Needs numpy 2, scipy and the folder
of reference.py:

    python3 tools/rounding.py ../shared/oracle
"""

import json
import pathlib
import sys

import numpy as np

from make_outliers import FACTOR, NORMS, STEP

ENCODER, DECODER = "image_encoder.", "mask_decoder.transformer."
CASES = pathlib.Path(__file__).parent / "../tests/data/portable/cases.json"

# Products whose operands the kernels round to f16, by the name of their weight.
GROUPS = {
    "everything": lambda name: is_encoder(name) or is_decoder(name) or is_upscaling(name),
    "encoder": lambda name: is_encoder(name),
    "encoder: qkv and attention": lambda name: is_encoder(name) and ".attn.qkv" in name,
    "encoder: out projection": lambda name: is_encoder(name) and ".attn.proj" in name,
    "encoder: MLP and adapters": lambda name: is_encoder(name) and ".mlp." in name,
    "encoder: patches and neck": lambda name: is_encoder(name) and ("patch_embed" in name or ".neck." in name),
    "decoder: projections of the image": lambda name: is_decoder(name) and "out_proj" not in name,
    "decoder: out projection to the image": lambda name: is_decoder(name) and "out_proj" in name,
    "mask upsampling": lambda name: is_upscaling(name),
}


def is_encoder(name):
    return name.startswith(ENCODER) and "gate" not in name and "embed." not in name.replace("patch_embed.", "")


def is_decoder(name):
    """The products over image tokens: keys and values of one attention, queries and out projection of the other."""
    to_image = "token_to_image" in name and ("k_proj" in name or "v_proj" in name)
    return name.startswith(DECODER) and (to_image or "image_to_token.q_proj" in name or "image_to_token.out_proj" in name)


def is_upscaling(name):
    return "output_upscaling" in name


def half(x):
    return np.asarray(x).astype(np.float16).astype(np.asarray(x).dtype)


class Operand(np.ndarray):
    """A weight whose products round both operands."""

    def __rmatmul__(self, x):
        return half(x) @ half(self)

    def __array_function__(self, function, types, args, kwargs):
        arrays = [half(a) if function is np.einsum and isinstance(a, np.ndarray) else a for a in args]
        return function(*[a.view(np.ndarray) if isinstance(a, np.ndarray) else a for a in arrays], **kwargs)


class Narrow:
    """numpy, its float64 results as float32."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*args, **kwargs):
            result = found(*args, **kwargs)
            is_wide = isinstance(result, (np.ndarray, np.floating)) and result.dtype == np.float64
            return result.astype(np.float32) if is_wide else result

        return call


class Runs:
    """The reference with its functions and weights replaced for one run at a time."""

    def __init__(self, reference, synth, factor):
        self.reference, self.synth, self.factor = reference, synth, factor
        self.plain = {name: getattr(reference, name) for name in ("np", "linear", "softmax", "attention", "Weights")}

    def run(self, case, chosen=lambda name: False, dtype=np.float64):
        plain, factor, reference = self.plain, self.factor, self.reference
        inside = []

        class Weights(plain["Weights"]):
            def __call__(self, name, *shape):
                tensor = super().__call__(name, *shape).astype(dtype)
                if name in NORMS:
                    tensor[::STEP] *= factor
                is_weight = len(shape) > 1 and name.endswith(".weight") or "rel_pos" in name
                product = name.split(".rel_pos")[0] + ".qkv" if "rel_pos" in name else name
                return tensor.view(Operand) if is_weight and chosen(product) else tensor

        def linear(w, name, x, outputs):
            y = np.asarray(plain["linear"](w, name, x, outputs))
            stored = name.endswith((".qkv", "q_proj", "k_proj", "v_proj")) and chosen(name + ".weight")
            return half(y) if stored else y

        def attention(w, name, *args):
            inside.append(chosen(name + ".qkv"))
            result = plain["attention"](w, name, *args)
            inside.pop()
            return result

        def softmax(x):
            y = plain["softmax"](x)
            return half(y) if inside and inside[-1] else y

        reference.Weights, reference.linear, reference.softmax = Weights, linear, softmax
        reference.attention, reference.np = attention, Narrow() if dtype == np.float32 else plain["np"]
        image = self.synth.image(case["case"]).astype(dtype)
        organ = case["organ"]
        logits, stages = reference.medsegx("tiny", image, case["box"], case["modal"], organ)
        gates = [name for name in stages if name.endswith("gate")]
        return {"gates": [stages[name] for name in gates], "neck": [stages["neck"]], "logits": [logits]}


def worst(found, exact):
    """The largest relative L2 error of a list of arrays."""
    pairs = [(np.asarray(f, np.float64), np.asarray(e, np.float64)) for f, e in zip(found, exact)]
    return max(np.linalg.norm(f - e) / np.linalg.norm(e) for f, e in pairs)


def main(oracle):
    sys.path.insert(0, oracle)
    import reference
    import synth

    cases = json.loads(CASES.read_text())["cases"]
    for title, factor, some in [("as they are", 1.0, cases), (f"gains times {FACTOR:.0f}", FACTOR, cases[:1])]:
        runs = Runs(reference, synth, factor)
        exact = [runs.run(case) for case in some]
        stages = ("gates", "neck", "logits")
        print(f"{title:40}" + "".join(f" {stage:^{10 * len(some)}}" for stage in stages))
        for name, options in [*((n, {"chosen": g}) for n, g in GROUPS.items()), ("all in f32", {"dtype": np.float32})]:
            found = [runs.run(case, **options) for case in some]
            off = lambda stage: " ".join(f"{worst(f[stage], e[stage]):9.2e}" for f, e in zip(found, exact))
            print(f"{name:40} " + " ".join(map(off, stages)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
