"""Measures a weights file as the engine runs it: masks, choice and scores are the engine's own, Dice is taken here. Needs
numpy and nibabel.

    python3 tools/train_demo/engine.py MEDSEGX volume IMAGE LABELS --names FILE --modality CT     # a table, as evaluate.py's
    python3 tools/train_demo/engine.py MEDSEGX slices ROOT                                        # a MedSegDB folder
    python3 tools/train_demo/engine.py MEDSEGX rules DATA                                         # which of three masks: every rule
    python3 tools/train_demo/engine.py MEDSEGX ends IMAGE LABELS --names FILE --modality CT       # where boxes of large slices end

IMAGE is whatever the engine reads; LABELS a NIfTI file whose axes run along the image's. FILE of --names: {name of the
labels file: targets}, or a boxes file; a target has name, label and, if there is one, task. DATA holds ct-mr-volumes, dicom-ct, medsegdb-example and real-tasks.
Boxes are tight around the label, inclusive voxels. `rules` compares on generated pictures (with numba) and on every other real slice, and
reports on the other real slices, the published examples and the volumes. `ends` is for slices larger than the model's 256 pixels, where
the engine scales both corners alike: it moves the corners that the engine is given to where another rule would end them in that frame,
`pixels` (the last pixel's end less one, (x1 + 1) s - 1) or `outward` (the same, rounded to whole pixels of the frame).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import rules

SEED = 990003
MIN_PIXELS = 30
FRAME = 256
# What is told of a target that the task tree does not have: row 0 of the other tables, as evaluate.py has it
UNSEEN = {"body_part": "head&neck", "subregion": "head", "organ": "brain", "target": "unseen"}


def triangle(source, target):
    """Bilinear with antialiasing as a matrix [target, source]"""
    scale = source / target
    support = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs((np.arange(source) + 0.5)[None] - centers[:, None]) / support)
    return weights / weights.sum(1, keepdims=True)


def masks_of(logits, shape):
    """[3, L, L] -> [3, H, W] bool"""
    side = logits.shape[-1]
    if shape == (side, side):
        return logits > 0
    return triangle(side, shape[0]) @ logits @ triangle(side, shape[1]).T > 0


def ellipse(box, shape):
    y, x = np.mgrid[:shape[0], :shape[1]]
    x0, y0, x1, y1 = box
    return ((x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)) ** 2 <= 1


def as_given(box, shape):
    return box


def moved(ends):
    """What a rule makes of a box [x0, y0, x1, y1] of a slice [H, W] larger than the frame; whole indices give each exactly"""
    def move(box, shape):
        out = list(box)
        for at, length in ((0, shape[1]), (1, shape[0])):
            scale = FRAME / length
            assert scale <= 1, "slices larger than the frame only"
            first, last = box[at] * scale, (box[at + 2] + 1) * scale - 1
            if ends == "outward":
                first, last = np.floor(first), np.ceil(last)
            out[at], out[at + 2] = first / scale, max(first, last) / scale
        assert all(float(value).is_integer() for value in out), f"no whole index gives the corners of {box}"
        return out
    return move


def segment(args, image, targets, move=as_given):
    """Runs the engine: image, targets [{name, task or else modality, truth {slice: [H, W] bool}}] -> for every target a
    list of its slices. The engine is given the tight boxes as `move` makes them."""
    entries = []
    for number, target in enumerate(targets, 1):
        tight = lambda mask: move([int(v) for v in rules.tight_box(mask)], mask.shape)
        boxes = {str(k): [int(v) for v in tight(mask)] for k, mask in target["truth"].items()}
        query = {"task": target["task"]} if target.get("task") else {**UNSEEN, "modality": target["modality"]}
        entries.append({"name": target["name"], "label": number, "slices": boxes, **query})
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        at = lambda name: os.path.join(folder, name)
        with open(at("boxes.json"), "w") as file:
            json.dump({"version": 1, "space": "voxel", "inclusive": True, "targets": entries}, file)
        call = [args.medsegx, "segment", image, "--boxes", at("boxes.json"), "-o", at("mask.npy"), "--logits", at("logits.npy"),
                "--report", at("report.json"), "--device", "cpu", "-q"]
        done = subprocess.run(call + (["--weights", args.weights] if args.weights else []), stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(call)}\n{done.stderr}")
        with open(at("report.json")) as file:
            report = json.load(file)
        # Logits are stored by ascending slice, then in the order of the targets.
        order = sorted((k, number) for number, target in enumerate(targets) for k in target["truth"])
        told = [{said["slice"]: said for said in target["slices"]} for target in report["targets"]]
        logits, out = np.load(at("logits.npy"), mmap_mode="r"), [[] for _ in targets]
        for (k, number), values in zip(order, logits, strict=True):
            out[number].append(row(k, np.array(values), targets[number]["truth"][k], told[number][k]))
        return out


def row(k, logits, truth, said):
    """What is known of one box: Dice of the three masks and of the ellipse, every rule's scores, the engine's choice"""
    inside = np.array([m["box_agreement"] for m in said["measures"]])
    told = np.array([m["stability"] for m in said["measures"]])
    scores = rules.scores(logits, inside)
    np.testing.assert_allclose(scores["stability, offset 1"], told, atol=1e-9)
    masks = masks_of(logits, truth.shape)
    baseline = float(rules.dice(ellipse(rules.tight_box(truth), truth.shape), truth))
    return {"slice": k, "masks": np.packbits(masks, axis=-1), "width": truth.shape[1], "dice": rules.dice(masks, truth[None]),
            "ellipse": baseline, "scores": scores, "chosen": said["mask"] - 1}


def grid_of(args, image):
    """The affine of the engine's grid, RAS, and its shape"""
    import nibabel
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        out = os.path.join(folder, "mask.nii.gz")
        subprocess.run([args.medsegx, "segment", image, "--task", "CT_Liver", "--box", "0,0,9,9", "--slice", "0", "-o", out, "-q"],
                       check=True, stderr=subprocess.PIPE)
        mask = nibabel.load(out)
        return mask.affine, mask.shape


def labels_on(args, image, path):
    """Labels [x, y, z] on the image's grid, whose axes run along the labels' in either direction"""
    import nibabel
    file = nibabel.load(path)
    labels = np.asarray(file.dataobj).astype(int)
    if image.endswith((".nii", ".nii.gz")):
        return labels
    affine, shape = grid_of(args, image)
    turn = np.linalg.inv(file.affine) @ affine
    np.testing.assert_allclose(np.abs(turn[:3, :3]), np.eye(3), atol=1e-3)
    for axis in range(3):
        labels = np.flip(labels, axis) if turn[axis, axis] < 0 else labels
    assert labels.shape == tuple(shape), (labels.shape, shape)
    return labels


def volume_rows(args, image, labels_path, names, modality, move=as_given):
    labels, targets = labels_on(args, image, labels_path), []
    for name in names:
        truth = {k: labels[:, :, k].T == name["label"] for k in range(labels.shape[2])}
        truth = {k: mask for k, mask in truth.items() if mask.sum() >= MIN_PIXELS}
        if truth:
            targets.append({"name": name["name"].replace("_", " "), "truth": truth, "task": name.get("task"),
                            "modality": modality})
    return dict(sorted(zip((t["name"] for t in targets), segment(args, image, targets, move))))


def names_of(path, labels):
    with open(path) as file:
        names = json.load(file)
    return names["targets"] if "targets" in names else names[os.path.basename(labels).split(".")[0]]


def modalities(args):
    return json.loads(subprocess.run([args.medsegx, "tasks", "--json"], check=True, stdout=subprocess.PIPE).stdout)["modalities"]


def slice_rows(args, root):
    """A MedSegDB folder -> [(name, row)] in order of names"""
    known = {name for m in modalities(args) for name in (m["modality"], *m["aliases"])}
    found = []
    for folder, _, files in sorted(os.walk(root)):
        if os.path.basename(folder) == "npy_imgs":
            task = next(p for p in folder.split(os.sep) if "_" in p and p.split("_")[0] in known)
            for file in sorted(f for f in files if f.endswith(".npy")):
                truth = np.load(os.path.join(os.path.dirname(folder), "npy_gts", file)) > 0
                target = {"name": task, "task": task, "truth": {0: truth}}
                rows = segment(args, os.path.join(folder, file), [target])
                found.append((f"{task.replace('_', ' ')} {file[:-4].replace('_', ' ')}", rows[0][0]))
    return found


def generated_rows(args):
    """Held-out pictures of the generator with boxes that are tight at 256 pixels"""
    import pictures
    names = {m["row"]: m["modality"] for m in modalities(args)}
    source, rows = pictures.Pictures(SEED, 6, tight=1.0), []
    for number in range(args.pictures):
        image, masks, _, context, _ = source.batch([number])
        targets = [{"name": f"target {i}", "modality": names[int(context[0][0])], "truth": {0: mask > 0}}
                   for i, mask in enumerate(masks[0])]
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            path = os.path.join(folder, "picture.npy")
            np.save(path, image[0].transpose(1, 2, 0))
            rows += [r[0] for r in segment(args, path, targets)]
    return rows


def runs_of(rows):
    """Rows of adjacent slices"""
    out = [[rows[0]]]
    for one in rows[1:]:
        if one["slice"] != out[-1][-1]["slice"] + 1:
            out.append([])
        out[-1].append(one)
    return out


def chosen_dice(rows, rule, weight=rules.CONTINUITY_WEIGHT):
    """Dice of each of a structure's slices by a rule and continuity, as the engine chooses"""
    out = []
    for run in runs_of(rows):
        masks = [np.unpackbits(r["masks"], axis=-1)[..., :r["width"]].astype(bool) for r in run]
        picks = rules.continuous([r["scores"][rule] for r in run], masks, weight)
        out += [r["dice"][pick] for r, pick in zip(run, picks)]
    return out


def show(name, values):
    values = np.array(values, float)
    print(f"| {name} | {len(values)} | " + " | ".join(f"{v:.4f}" for v in values.mean(0)) + " |", flush=True)


def figures(one):
    return one["dice"].max(), one["dice"][one["chosen"]], one["ellipse"]


def print_volume(args):
    names = names_of(args.names, args.labels)
    found = volume_rows(args, args.image, args.labels, names, args.modality)
    print("| structure | slices | best of 3 | engine's choice | ellipse |\n|---|---|---|---|---|")
    for name, rows in found.items():
        show(name, [figures(r) for r in rows])
    show("mean over slices", [figures(r) for rows in found.values() for r in rows])
    show("mean over structures", [np.mean([figures(r) for r in rows], 0) for rows in found.values()])


def print_ends(args):
    names, ways = names_of(args.names, args.labels), {"alike": as_given, "pixels": moved("pixels"), "outward": moved("outward")}
    found = [volume_rows(args, args.image, args.labels, names, args.modality, move) for move in ways.values()]
    print("| structure | slices | " + " | ".join(ways) + " |\n|---|---|" + "---|" * len(ways))
    rows = {name: [[r["dice"][r["chosen"]] for r in same] for same in zip(*(each[name] for each in found), strict=True)] for name in found[0]}
    for name, values in rows.items():
        show(name, values)
    show("mean over slices", [value for values in rows.values() for value in values])
    show("mean over structures", [np.mean(values, 0) for values in rows.values()])


def print_slices(args):
    print("| slice | n | best of 3 | engine's choice | ellipse |\n|---|---|---|---|---|")
    rows = slice_rows(args, args.root)
    for name, one in rows:
        show(name, [figures(one)])
    show("mean", [figures(one) for _, one in rows])


def print_rules(args):
    at = lambda *parts: os.path.join(args.data, *parts)
    real = [one for _, one in slice_rows(args, at("real-tasks"))]
    sets = {"generated": generated_rows(args), "real, for choosing": real[::2], "real, held out": real[1::2],
            "examples": [one for _, one in slice_rows(args, at("medsegdb-example", "eval"))]}
    volumes = {}
    for title, image, labels, modality in (("CT", "example_ct_sm.nii.gz", "example_seg", "CT"),
                                           ("MR", "example_mr_sm.nii.gz", "example_seg_mr", "MRI"),
                                           ("CT, 512 pixels", None, "example_seg_dicom", "CT")):
        labels = at("ct-mr-volumes", f"{labels}.nii.gz")
        image = at("ct-mr-volumes", image) if image else at("dicom-ct")
        volumes[title] = volume_rows(args, image, labels, names_of(at("ct-mr-volumes", "labels.json"), labels), modality)
    flat = {title: [r for rows in found.values() for r in rows] for title, found in volumes.items()}
    every = {**sets, **flat}
    print("| rule | " + " | ".join(every) + " |\n|---|" + "---|" * len(every))
    line = lambda name, values: print(f"| {name} | " + " | ".join(f"{np.mean(v):.4f}" for v in values) + " |", flush=True)
    print("| targets | " + " | ".join(str(len(rows)) for rows in every.values()) + " |")
    line("best of 3", [[r["dice"].max() for r in rows] for rows in every.values()])
    for m in range(3):
        line(f"mask {m + 1} always", [[r["dice"][m] for r in rows] for rows in every.values()])
    for rule in real[0]["scores"]:
        alone = [[r["dice"][int(np.argmax(r["scores"][rule]))] for r in rows] for rows in sets.values()]
        line(rule, alone + [[d for rows in found.values() for d in chosen_dice(rows, rule)] for found in volumes.values()])
    line("engine's choice", [[r["dice"][r["chosen"]] for r in rows] for rows in every.values()])
    line("ellipse", [[r["ellipse"] for r in rows] for rows in every.values()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("medsegx", help="the program")
    parser.add_argument("--weights", help="default: those in the program")
    parser.add_argument("--scratch", help="folder for what the engine writes meanwhile; default: the system's")
    what = parser.add_subparsers(required=True)
    p = what.add_parser("volume")
    p.set_defaults(run=print_volume)
    q = what.add_parser("ends")
    q.set_defaults(run=print_ends)
    for p in (p, q):
        p.add_argument("image")
        p.add_argument("labels")
        p.add_argument("--names", required=True)
        p.add_argument("--modality", required=True)
    p = what.add_parser("slices")
    p.add_argument("root")
    p.set_defaults(run=print_slices)
    p = what.add_parser("rules")
    p.add_argument("data")
    p.add_argument("--pictures", type=int, default=120)
    p.set_defaults(run=print_rules)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
