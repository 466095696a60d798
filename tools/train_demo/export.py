"""Writes the averaged weights of a training folder as f16 safetensors: python3 tools/train_demo/export.py DIR weights/demo.safetensors"""
import argparse
import json
import os
import sys

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import train

LARGEST_FILE = 16_000_000


def write(folder, out, which):
    """`which` is "average" or "parameters" (the last step's). Pictures are counted without those of earlier files in the ancestry."""
    old = torch.load(os.path.join(folder, "checkpoint.pt"), weights_only=False)
    args = argparse.Namespace(**old["args"])
    model = train.make_model(args)
    train.adopt(model, old[which])
    state = {k: v.to(torch.float16).contiguous() for k, v in model.state_dict().items()}
    assert all(v.isfinite().all() for v in state.values()), "a value does not fit f16"
    starts = [h["from_step"] for h in args.history] + [old["step"]]
    new = sum((b - a) * h["batch"] for a, b, h in zip(starts, starts[1:], args.history))
    earlier = sum(int(a["pictures"]) for a in args.ancestors)
    settings = {k: v for k, v in vars(args).items() if k not in ("dir", "start", "history", "ancestors", "positions")}
    note = {"kind": "medsegx", "title": "medsegx demo weights", "purpose": "for trying things out, not for clinical use",
            "provenance": "trained from scratch on procedurally generated pictures only; no patient data",
            "recipe": "tools/train_demo/train.py", "generator_versions": json.dumps(args.history), "ancestors": json.dumps(args.ancestors),
            "seed": str(args.seed), "steps": str(old["step"]), "pictures": str(new), "pictures_of_ancestors": str(earlier),
            "prompts_per_picture": str(args.prompts), "training_minutes": f"{old['seconds'] / 60:.0f}",
            "settings": json.dumps(settings, sort_keys=True), "license": "MIT OR Apache-2.0"}
    save_file(state, out + ".new", metadata=note)
    size = os.path.getsize(out + ".new")
    assert size <= LARGEST_FILE, f"{size} bytes, at most {LARGEST_FILE}"
    os.replace(out + ".new", out)
    print(f"{out}: {size} bytes, {new} pictures after {earlier} of the files it started from")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("out")
    parser.add_argument("--last", action="store_true", help="the last step's weights instead of their average")
    options = parser.parse_args()
    write(options.dir, options.out, "parameters" if options.last else "average")


if __name__ == "__main__":
    main()
