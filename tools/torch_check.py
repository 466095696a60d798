"""Compares torch_model.py with the golden tensors (python3 tools/torch_model.py --check ORACLE)."""
import json
import os
import sys

import numpy as np
import torch
from safetensors import safe_open

import torch_model

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-6}      # relative L2; the golden files are float32, PyTorch in f32 errs by 2e-6


def synthetic(config, seed, dtype, tensor):
    model = torch_model.Sam(config).to(dtype).eval()
    state = {k: torch.from_numpy(tensor(k, tuple(v.shape), seed)).to(dtype) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    again = torch_model.config_from_state(state)
    assert again == config, f"the shapes say {again}, the model was made as {config}"
    return model


def error(got, want):
    want = want.astype(np.float64)
    return float(np.linalg.norm(got.double().numpy() - want) / np.linalg.norm(want))


def medsegx_logits(model, image, case, dtype):
    image = torch.from_numpy(image).to(dtype)[None]
    context = torch.tensor([[case["modal"], *case["organ"]]])
    return model(image, torch.tensor([case["box"]], dtype=dtype), context)[0]


def sam_outputs(model, image, case, gold, dtype):
    """name -> tensor for the prompts of the plain SAM cases"""
    embedding = model.encode(torch.from_numpy(image).to(dtype)[None])
    points = dict(points=torch.tensor([case["points"]], dtype=dtype), labels=case["labels"])
    box = dict(box=torch.tensor([case["box"]], dtype=dtype))
    mask = torch.from_numpy(gold.get_tensor(f"case{case['case']}.box.logits")[1:2]).to(dtype)
    out = {"embedding": embedding[0].T.unflatten(1, (64, 64))}
    for name, prompts, keep in (("box", box, slice(1, 4)), ("points", points, slice(1, 4)),
                                ("points_box_mask", {**points, **box, "mask": mask}, slice(0, 1))):
        masks, iou = model.decode(embedding, **prompts)
        out[name + ".logits"], out[name + ".iou"] = masks[0, keep], iou[0, keep]
    return out


def golden_configs(oracle):
    """(file name, its description, configuration); vit_l and vit_b at 1024 px are left to their own size class"""
    for name in ("tiny", "tiny_variant", "vit_b", "tiny_sam1024"):
        meta = json.load(open(os.path.join(oracle, name + ".json")))
        base = meta["config"].split("_sam")[0].split("_variant")[0]
        if "sam1024" in name:
            yield name, meta, torch_model.named_config(base, image_size=1024, adapter=None, keep_resolution=False)
        else:
            blocks = meta.get("adapter_blocks")
            adapter = torch_model.Adapter(meta.get("experts", 4), meta.get("bottleneck", 16), meta.get("embedding", 16),
                                          tuple(blocks) if blocks else None)
            yield name, meta, torch_model.named_config(base, adapter=adapter)


@torch.no_grad()
def run(oracle):
    """Prints one line a comparison; returns the number of failures."""
    sys.path.insert(0, oracle)
    import synth
    failures = 0

    def report(name, dtype, worst):
        nonlocal failures
        good = worst < TOLERANCE[dtype]
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {name:32s} {str(dtype)[6:]:8s} relative L2 error {worst:.1e}, allowed {TOLERANCE[dtype]:.0e}", flush=True)

    for name, meta, config in golden_configs(oracle):
        for dtype in (torch.float32, torch.float64):
            model = synthetic(config, meta["seed"], dtype, synth.tensor)
            with safe_open(os.path.join(oracle, name + ".safetensors"), "np") as gold:
                for case in meta["cases"]:
                    image = np.load(os.path.join(oracle, "../data/medsegdb-example", case["img"])).transpose(2, 0, 1).astype(np.float64)
                    if "sam1024" in name:
                        outputs = sam_outputs(model, image.repeat(4, 1).repeat(4, 2), case, gold, dtype)
                    else:
                        outputs = {"logits": medsegx_logits(model, image, case, dtype)}
                    for key, got in outputs.items():
                        report(f"{name} case {case['case']} {key}", dtype, error(got, gold.get_tensor(f"case{case['case']}.{key}")))
    return failures
