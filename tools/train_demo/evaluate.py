"""Measures a weights file.

    python3 tools/train_demo/evaluate.py WEIGHTS generated [--pictures 300]      # mask-choice rules on held-out procedural pictures
    python3 tools/train_demo/evaluate.py WEIGHTS slices ROOT --taxonomy FILE     # a MedSegDB folder
    python3 tools/train_demo/evaluate.py WEIGHTS volume IMAGE LABELS --names FILE --modality CT --taxonomy FILE

FILE of --names: a boxes file, or {name of the labels file: targets}; a target has name, label and, if there is one, task.

Procedural pictures are for steering; real slices are for measuring once, when everything else is decided.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import rules
import torch_model
import validate

UNSEEN_TASK = 111
RULE_SEED = 990002


def context_of(taxonomy, modality, target):
    """Rows of the five tables for a modality and a target name, as spec: digits at the end and underscores are dropped."""
    if target:
        target = target.replace("_", "").rstrip("0123456789")
    row = next(m["index"] for m in taxonomy["modalities"] if modality in (m["name"], *m["aliases"]))
    levels = [next((n["index"] for n in taxonomy[level] if target in n["targets"]), 0)
              for level in ("body_parts", "body_subregions", "organs")]
    tasks = taxonomy["tasks"]
    return [row, *levels, tasks.index(target) if target in tasks else UNSEEN_TASK]


def resize(x, height, width):
    """Bilinear with antialiasing, [.., H, W]"""
    return F.interpolate(x[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]


def scale_boxes(boxes, width, height, ends):
    """Boxes of inclusive pixels of a slice in the 256-pixel frame: `indices` scales both corners alike, `pixels` ends
    them with the last pixel that they hold, `engine` does so where the slice is enlarged only, as the engine does,
    `outward` is `pixels` rounded outward."""
    boxes, scale = np.array(boxes, np.float64), np.array([256 / width, 256 / height])
    low, high = boxes[:, :2] * scale, boxes[:, 2:] * scale
    if ends in ("pixels", "engine"):
        whole = np.maximum(low, (boxes[:, 2:] + 1) * scale - 1)
        high = np.where((scale > 1) | (ends == "pixels"), whole, high)
    elif ends == "outward":
        low = np.floor(low)
        high = np.maximum(low, np.ceil((boxes[:, 2:] + 1) * scale) - 1)
    return torch.tensor(np.concatenate([low, high], 1), dtype=torch.float32)


@torch.no_grad()
def logits_of(model, image, boxes, context, ends):
    """image [3, H, W] u8, boxes [Q][4] of that slice -> for every box: logits [3, 256, 256], the box there, masks [3, H, W] bool"""
    _, H, W = image.shape
    x = torch.from_numpy(image.astype(np.float32))
    x = x if (H, W) == (256, 256) else resize(x, 256, 256).round()
    embedding = [model.encode(x[None], torch.tensor([c])) for c in context]
    scaled = scale_boxes(boxes, W, H, ends)
    logits = model.decode(torch.cat(embedding), box=scaled)[0][:, 1:]
    masks = [((m if (H, W) == (256, 256) else resize(m, H, W)) > 0).numpy() for m in logits]
    return list(zip(logits.numpy(), scaled.numpy(), masks))


def box_of(mask):
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(x.max()), int(y.max())]


def ellipse(box, shape):
    y, x = np.mgrid[:shape[0], :shape[1]]
    x0, y0, x1, y1 = box
    return ((x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)) ** 2 <= 1


def score(output, mask, box, rule):
    """output of `logits_of` -> DSC of the three masks, of the ellipse; the rule's scores"""
    logits, scaled, masks = output
    return rules.dice(masks, mask[None]), float(rules.dice(ellipse(box, mask.shape), mask)), rules.measures(logits, scaled)[rule]


def show(name, values):
    values = np.array(values)
    print(f"| {name} | {len(values)} | " + " | ".join(f"{v:.4f}" for v in values.mean(0)) + " |", flush=True)


def generated(model, args):
    records, baseline = [], []
    for logits, masks, boxes, _ in validate.outputs(model, range(args.pictures), seed=RULE_SEED):
        for x, mask, box in zip(logits, masks, boxes):
            records.append((rules.measures(x, box), rules.dice(x > 0, mask[None])))
            baseline.append(rules.dice(validate.ellipse(validate.tight_box(mask)), mask))
    rules.compare(records)
    print(f"ellipse inscribed in the box {np.mean(baseline):.4f}")


def slices(model, args):
    taxonomy = json.load(open(args.taxonomy))
    print("| slice | n | best of 3 | chosen | ellipse |\n|---|---|---|---|---|")
    everything = []
    for folder, _, files in sorted(os.walk(args.root)):
        if os.path.basename(folder) != "npy_imgs":
            continue
        parts = folder.split(os.sep)
        known = {name for m in taxonomy["modalities"] for name in (m["name"], *m["aliases"])}
        task = next(p for p in parts if "_" in p and p.split("_")[0] in known)
        for file in sorted(f for f in files if f.endswith(".npy")):
            image = np.load(os.path.join(folder, file)).transpose(2, 0, 1)
            mask = np.load(os.path.join(os.path.dirname(folder), "npy_gts", file)) > 0
            box = box_of(mask)
            output = logits_of(model, image, [box], [context_of(taxonomy, *task.split("_", 1))], args.ends)[0]
            each, baseline, scores = score(output, mask, box, args.rule)
            everything.append((each.max(), each[np.argmax(scores)], baseline))
            show(f"{task} {file[:-4]}", everything[-1:])
    show("mean", everything)


def volume(model, args):
    import nibabel
    taxonomy, names = json.load(open(args.taxonomy)), json.load(open(args.names))
    if isinstance(names, dict):
        names = names["targets"] if "targets" in names else names[os.path.basename(args.labels).split(".")[0]]
    data, labels = nibabel.load(args.image).get_fdata(), np.asarray(nibabel.load(args.labels).dataobj).astype(int)
    low, high = data.min(), data.max()
    if args.window:
        low, high = args.window[0] - args.window[1] / 2, args.window[0] + args.window[1] / 2
    grey = np.rint(np.clip((data - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    per_name = {}
    for k in range(data.shape[2]):
        here = [(n["name"], n.get("task"), labels[:, :, k].T == n["label"]) for n in names]
        here = [h for h in here if h[2].sum() >= args.min_pixels]
        if not here:
            continue
        boxes = [box_of(mask) for _, _, mask in here]
        context = [context_of(taxonomy, args.modality, task.split("_", 1)[1] if task else None) for _, task, _ in here]
        image = np.repeat(grey[:, :, k].T[None], 3, 0)
        for (name, _, mask), box, output in zip(here, boxes, logits_of(model, image, boxes, context, args.ends)):
            each, baseline, scores = score(output, mask, box, args.rule)
            per_name.setdefault(name, []).append((k, output[2], each, baseline, scores))
    print("| structure | slices | best of 3 | slice by slice | chosen | ellipse |\n|---|---|---|---|---|---|")
    rows = {name: rows_of(per_name[name]) for name in sorted(per_name)}
    for name, values in rows.items():
        show(name, values)
    show("mean over slices", [v for values in rows.values() for v in values])
    show("mean over structures", [np.mean(values, 0) for values in rows.values()])


def rows_of(found):
    """Slices (index, masks, DSC of each, of the ellipse, scores) of a structure, in order -> rows of DSC: best of three, by the rule alone,
    by the rule and continuity over each run of adjacent slices, ellipse"""
    rows, start = [], 0
    for i in range(1, len(found) + 1):
        if i == len(found) or found[i][0] != found[i - 1][0] + 1:
            run = found[start:i]
            chosen = rules.continuous([f[4] for f in run], [f[1] for f in run])
            rows += [(each.max(), each[np.argmax(scores)], each[c], baseline) for c, (_, _, each, baseline, scores) in zip(chosen, run)]
            start = i
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    what = parser.add_subparsers(required=True)
    p = what.add_parser("generated")
    p.add_argument("--pictures", type=int, default=300)
    p.set_defaults(run=generated)
    p = what.add_parser("slices")
    p.add_argument("root")
    p.set_defaults(run=slices)
    q = what.add_parser("volume")
    q.add_argument("image")
    q.add_argument("labels")
    q.add_argument("--names", required=True)
    q.add_argument("--modality", required=True)
    q.add_argument("--min-pixels", type=int, default=30)
    q.add_argument("--window", type=float, nargs=2, metavar=("LEVEL", "WIDTH"), help="instead of the volume's minimum and maximum")
    q.set_defaults(run=volume)
    for p in (p, q):
        p.add_argument("--taxonomy", required=True)
        p.add_argument("--rule", default="box x stability")
        p.add_argument("--ends", default="engine", choices=["engine", "indices", "pixels", "outward"], help="where scaled boxes end")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(torch_model.load({k: v.float() for k, v in load_file(args.weights).items()}), args)


if __name__ == "__main__":
    main()
