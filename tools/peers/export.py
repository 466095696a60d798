"""The network of tools/torch_model.py as files for every engine, and one golden case to run it on.

    python3 export.py CONFIG WEIGHTS FOLDER --oracle ORACLE

writes FOLDER/network.onnx, network.xml (OpenVINO, f32), case.npz, picture.npy and case.json. Refuses where PyTorch in
f32 is further from the golden logits than 1e-5.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import openvino
import safetensors.torch
import torch
from safetensors import safe_open

TOOLS = pathlib.Path(__file__).resolve().parent.parent
PORTABLE = TOOLS.parent / "tests/data/portable"
sys.path.insert(0, str(TOOLS))
import torch_model

LIMIT = 1e-5


def published_attention(self, x):
    """torch_model.Attention.forward with the relative terms added to the scores, as the published code writes it."""
    B, g, _, D = x.shape
    heads, d = self.heads, D // self.heads
    q, k, v = self.qkv(x).view(B, g * g, 3, heads, d).permute(2, 0, 3, 1, 4).reshape(3, B * heads, g * g, d).unbind()
    queries = q.view(B * heads, g, g, d)
    rel_h = torch.einsum("bhwc,hkc->bhwk", queries, self.rel_pos_h[self.offset])
    rel_w = torch.einsum("bhwc,wkc->bhwk", queries, self.rel_pos_w[self.offset])
    scores = ((q * d**-0.5) @ k.mT).view(-1, g, g, g, g) + rel_h[..., None] + rel_w[..., None, :]
    out = scores.view(-1, g * g, g * g).softmax(-1) @ v
    return self.proj(out.view(B, heads, g, g, d).permute(0, 2, 3, 1, 4).reshape(B, g, g, D))


def hashed(name, count):
    """count 64-bit hashes of a name, as src/weights/synth.rs makes them."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    base = 0xCBF29CE484222325
    for byte in name.encode():
        base = (base ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(base) + np.arange(1, count + 1, dtype=np.uint64) * golden
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def made_up_picture(case):
    """[256, 256, 3] bytes, the picture of the portable golden tensors."""
    side, picture = 256, np.zeros((3, 256, 256), np.uint64)
    for kind, cell, bits in (("coarse", 32, 7), ("middle", 8, 6), ("fine", 1, 5)):
        cells = side // cell
        layer = hashed(f"image.{kind}.{case}", 3 * cells * cells) >> np.uint64(64 - bits)
        picture += layer.reshape(3, cells, cells).repeat(cell, 1).repeat(cell, 2)
    return picture.transpose(1, 2, 0).astype(np.uint8)


def is_sam(config):
    """Plain SAM, which has no context."""
    return config.endswith("_sam1024")


def golden_case(config, oracle):
    """Name, picture, description and logits of the first case; the logits of portable ones are sampled. SAM at 1024 pixels has the
    oracle's alone, of a slice with every pixel four times along each side."""
    scale, key = (4, "case0.box.logits") if is_sam(config) else (1, "case0.logits")
    if (oracle / f"{config}.json").exists():
        case = json.loads((oracle / f"{config}.json").read_text())["cases"][0]
        picture = np.load(oracle.parent / "data/medsegdb-example" / case["img"]).repeat(scale, 0).repeat(scale, 1)
        name, source, step = f"{oracle.name}/{config} case 0", oracle / f"{config}.safetensors", 1
    elif is_sam(config):
        sys.exit(f"{oracle / config}.json: needs the golden tensors of SAM at 1024 pixels; there is no portable copy of them")
    else:
        case = json.loads((PORTABLE / "cases.json").read_text())["cases"][0]
        picture, name, source = made_up_picture(0), f"portable/{config} case 0", PORTABLE / f"{config}.safetensors"
        step = 1 if config == "tiny" else 8
    with safe_open(source, "np") as file:
        return name, picture, case, file.get_tensor(key), step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--oracle", type=pathlib.Path, required=True)
    options = parser.parse_args()
    name, picture, case, logits, step = golden_case(options.config, options.oracle)
    model = torch_model.load(safetensors.torch.load_file(options.weights))
    context = [case["modal"], *case["organ"]]
    inputs = {"image": picture.transpose(2, 0, 1)[None].astype(np.float32), "box": np.array([case["box"]], np.float32)}
    if not is_sam(options.config):
        inputs["context"] = np.array([context], np.int64)
    tensors = tuple(torch.from_numpy(value) for value in inputs.values())

    def export(path):
        with torch.no_grad():
            found = model(*tensors)[0].double().numpy()[:, ::step, ::step]
            error = np.linalg.norm(found - logits) / np.linalg.norm(logits.astype(np.float64))
            print(f"{name}: PyTorch in f32 is {error:.1e} from the golden logits, allowed {LIMIT:.0e}", flush=True)
            if not error < LIMIT:
                sys.exit("the port is not the network: nothing is exported")
            names = {"input_names": list(inputs), "output_names": ["logits"]}
            torch.onnx.export(model, tensors, dynamo=True, verbose=False, **names).save(str(path))

    # Each engine gets the form that it runs faster: ONNX Runtime the port's, OpenVINO the published code's.
    export(options.folder / "network.onnx")
    torch_model.Attention.forward = published_attention
    published = options.folder / "published.onnx"
    export(published)
    openvino.save_model(openvino.convert_model(published), options.folder / "network.xml", compress_to_fp16=False)
    published.unlink()
    np.savez(options.folder / "case.npz", **inputs, logits=logits)
    np.save(options.folder / "picture.npy", picture)
    parameters = sum(p.numel() for p in model.parameters())
    description = {"name": name, "step": step, "box": case["box"], "context": context, "parameters": parameters}
    (options.folder / "case.json").write_text(json.dumps(description))


if __name__ == "__main__":
    main()
