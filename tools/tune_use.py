#!/usr/bin/env python3
"""What tuning on a few slices is worth: for each structure of a labelled volume of ../shared, Dice on all slices that
were not tuned on, before and after, beside the ellipse inscribed in the box. Prints a table. Needs numpy and nibabel."""

import argparse
import json
import pathlib
import subprocess
import tempfile

import nibabel
import numpy as np

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "shared/data/ct-mr-volumes"
VOLUMES = {"ct": ("example_ct_sm", "example_seg"), "mr": ("example_mr_sm", "example_seg_mr")}
# A slice counts where the structure has as many pixels.
LEAST_PIXELS = 30


def run(binary, *arguments):
    done = subprocess.run([str(binary), *map(str, arguments), "--quiet"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments}\n{done.stderr}")


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def tight_box(mask):
    x, y = np.nonzero(mask)
    return x.min(), y.min(), x.max(), y.max()


def ellipse(mask):
    x0, y0, x1, y1 = tight_box(mask)
    x, y = np.ogrid[: mask.shape[0], : mask.shape[1]]
    along = lambda at, low, high: (2 * at - low - high) / (high - low + 1)
    return along(x, x0, x1) ** 2 + along(y, y0, y1) ** 2 <= 1


class Structure:
    def __init__(self, args, image, labels_file, labels, entry):
        self.args, self.image, self.labels_file = args, image, labels_file
        self.name, self.task, self.label = entry["name"], entry["task"], entry["label"]
        self.truth = labels == self.label
        self.slices = [k for k in range(labels.shape[2]) if self.truth[:, :, k].sum() >= LEAST_PIXELS]

    def found(self, folder, *more):
        """Masks on all slices, each from its own tight box."""
        boxes = {str(k): [int(v) for v in tight_box(self.truth[:, :, k])] for k in self.slices}
        target = {"name": self.name, "label": 1, "task": self.task, "slices": boxes}
        job = {"version": 1, "space": "voxel", "inclusive": True, "targets": [target]}
        (folder / "boxes.json").write_text(json.dumps(job))
        out = folder / "mask.nii.gz"
        run(self.args.binary, "segment", self.image, "--boxes", folder / "boxes.json", "-o", out, "--force", *more)
        return np.asarray(nibabel.load(out).dataobj) > 0

    def scores(self, mask, slices):
        return float(np.mean([dice(mask[:, :, k], self.truth[:, :, k]) for k in slices]))

    def tuned(self, folder, count, seed):
        """Slices tuned on, and the masks afterwards; slices are spread over the structure, moved on by the seed."""
        step, start = len(self.slices) / count, (seed + 0.5) / self.args.seeds
        chosen = sorted({self.slices[int(step * (i + start))] for i in range(count)})
        file = folder / "tuned.safetensors"
        run(self.args.binary, "tune", self.image, "--labels", self.labels_file, "--label", f"{self.label}={self.task}",
            "--slices", ",".join(map(str, chosen)), "--validate", "none", "--seed", seed, "-o", file, "--force")
        return chosen, self.found(folder, "--tuned", file)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/medsegx")
    parser.add_argument("--volume", choices=VOLUMES, default="ct")
    parser.add_argument("--structures", nargs="*", help="names; default: all with 10 slices and a task")
    parser.add_argument("--slices", nargs="+", type=int, default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    image, labels_name = VOLUMES[args.volume]
    image, labels_file = (DATA / f"{name}.nii.gz" for name in (image, labels_name))
    labels = np.asarray(nibabel.load(labels_file).dataobj)
    entries = json.loads((DATA / "labels.json").read_text())[labels_name]
    columns = " | ".join(f"{count} tuned on" for count in args.slices)
    print(f"| {args.volume}: structure | slices | ellipse | before | {columns} |")
    print("|---" * (4 + len(args.slices)) + "|")
    for entry in entries:
        if not entry["task"] or (args.structures and entry["name"] not in args.structures):
            continue
        structure = Structure(args, image, labels_file, labels, entry)
        if len(structure.slices) < 10:
            continue
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            before = structure.found(folder)
            ellipses = [dice(ellipse(structure.truth[:, :, k]), structure.truth[:, :, k]) for k in structure.slices]
            cells = []
            for count in args.slices:
                gains = []
                for seed in range(args.seeds):
                    chosen, after = structure.tuned(folder, count, seed)
                    others = [k for k in structure.slices if k not in chosen]
                    gains.append((structure.scores(before, others), structure.scores(after, others)))
                was, now = np.median(np.array(gains), axis=0)
                cells.append(f"{was:.3f} to {now:.3f}")
        whole = structure.scores(before, structure.slices)
        row = [structure.name, len(structure.slices), f"{np.mean(ellipses):.3f}", f"{whole:.3f}", *cells]
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
