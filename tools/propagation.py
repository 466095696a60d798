#!/usr/bin/env python3
"""How far `segment --propagate` is from tight boxes on every slice, for each organ of the sample volume and the liver of
../shared/data/dicom-ct (--volume: of other volumes of ../shared). Each target is propagated from one box: on the middle of its slices
and on that where it is largest, as the aim has it, and besides from a quarter and three quarters of it. Of each two the
worse is shown: how many slices the boxes go beyond the target's ends, or end short of them; on how many slices the Dice is
more than 0.03 below that with a tight box (slices that got no box are among them); and the largest such loss where there
is a box. Convex is the mean over slices of the share of their convex hull that they fill; a disc of 12 pixels fills 0.92 of
its own, and from 0.90 on a target counts as convex. Needs
numpy, scipy and nibabel."""

import argparse
import json
import pathlib
import subprocess
import tempfile

import nibabel
import numpy as np
from nibabel import orientations as ornt
from scipy.spatial import ConvexHull

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
MOST_LOSS = 0.03
CONVEX = 0.9
LEAST_SLICES = 5


def tight(labels, label):
    boxes = {}
    for k in range(labels.shape[2]):
        x, y = np.nonzero(labels[:, :, k] == label)
        if len(x):
            boxes[k] = [int(x.min()), int(y.min()), int(x.max()), int(y.max())]
    return boxes


def convexity(labels, label, slices):
    """Mean over slices of 20 pixels or more; corners of pixels count, so that a rectangle is 1."""
    shares = []
    for k in slices:
        at = np.argwhere(labels[:, :, k] == label)
        if len(at) >= 20:
            corners = np.concatenate([at + [dx, dy] for dx in (0, 1) for dy in (0, 1)])
            shares.append(len(at) / ConvexHull(corners).volume)
    return float(np.mean(shares))


def segment(args, image, folder, more, boxes):
    prompts, mask, report = folder / "boxes.json", folder / "mask.nii.gz", folder / "report.json"
    prompts.write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": [boxes]}))
    command = [args.medsegx, "segment", image, "--boxes", prompts, "-o", mask, "--report", report, "--force", "--quiet"]
    command += ["--device", "cpu", *(["--weights", args.weights] if args.weights else []), *more]
    subprocess.run([str(word) for word in command], check=True)
    return np.asarray(nibabel.load(mask).dataobj), json.loads(report.read_text())


def on_grid(labels_file, affine):
    """The labels in the order of axes of an image with this affine."""
    labels = nibabel.load(labels_file)
    way = ornt.ornt_transform(ornt.io_orientation(labels.affine), ornt.io_orientation(affine))
    return ornt.apply_orientation(np.asarray(labels.dataobj), way)


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def runs(args, image, labels, name, label, task, more, folder):
    """-> for each run its slice, the slices beyond both ends (negative: short), and the loss of each slice"""
    truth = tight(labels, label)
    slices, first, last = sorted(truth), min(truth), max(truth)
    target = {"name": name, "task": task, "label": 1, "slices": {str(k): box for k, box in truth.items()}}
    every, _ = segment(args, image, folder, more, target)
    largest = max(truth, key=lambda k: (labels[:, :, k] == label).sum())
    at = {k: slices[len(slices) * k // 4] for k in (1, 2, 3)}
    aimed = {largest, at[2]}
    found = []
    for seed in sorted(aimed | {at[1], at[3]}):
        one = {**target, "slices": {str(seed): truth[seed]}}
        mask, report = segment(args, image, folder, [*more, "--propagate"], one)
        low, high = report["propagation"]["targets"][0]["ends"]
        ends = [first - low["slice"], high["slice"] - last]
        loss = {}
        for k in truth:
            inside = labels[:, :, k] == label
            loss[k] = dice(every[:, :, k] > 0, inside) - dice(mask[:, :, k] > 0, inside)
        boxed = [loss[k] for k in truth if low["slice"] <= k <= high["slice"]]
        found.append({"is_aimed": seed in aimed, "ends": ends, "loss": loss, "in_box": max(boxed)})
        if args.each:
            shown = ", ".join(f"{by:+d} ({end['stop']} {end['value']})" for by, end in zip(ends, (low, high)))
            print(f"  {name} from slice {seed}: ends {shown}; " + " ".join(f"{k}:{v:+.3f}" for k, v in loss.items()))
    return found


def worst(found):
    lost = [sum(value > MOST_LOSS for value in run["loss"].values()) for run in found]
    ends = [end for run in found for end in run["ends"]]
    return max(0, *ends), max(0, *(-end for end in ends)), max(lost), max(run["in_box"] for run in found)


def measure(args, totals, image, labels, name, label, task, more, folder):
    truth = tight(labels, label)
    if len(truth) < LEAST_SLICES:
        return
    found = runs(args, image, labels, name, label, task, more, folder)
    aimed, others = ([run for run in found if run["is_aimed"] == is_aimed] for is_aimed in (True, False))
    convex = convexity(labels, label, truth)
    beyond, short, lost, loss = worst(aimed)
    cells = [name, f"{convex:.2f}", beyond, short, f"{lost} of {len(truth)}", f"{loss:.3f}"]
    cells.append("{}, {}, {}".format(*worst(others)) if others else "")
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    totals.append((name, convex >= CONVEX, beyond, lost, len(truth), short))


def conclude(totals):
    far = [name for name, _, beyond, *_ in totals if beyond > 1]
    print(f"\nAt most one slice beyond each end: {len(totals) - len(far)} of {len(totals)} targets"
          + (f", not {', '.join(far)}" if far else ""))
    convex = [row for row in totals if row[1]]
    missed = [f"{name} ({lost} of {count})" for name, _, _, lost, count, _ in convex if lost]
    slices, lost = sum(row[4] for row in convex), sum(row[3] for row in convex)
    print(f"Convex ({CONVEX:.2f} or more): {', '.join(row[0] for row in convex) or 'none'}; no slice more than {MOST_LOSS} "
          f"below its tight box: {len(convex) - len(missed)} of {len(convex)} targets, {slices - lost} of {slices} slices"
          + (f"; not {', '.join(missed)}" if missed else ""))


def cases(args):
    """-> of each volume its image, labels, targets (name, label, task) and arguments"""
    for volume in args.volume:
        sample, kept = ROOT / "tests/data", SHARED / "ct-mr-volumes"
        if volume == "phantom":
            labels = np.asarray(nibabel.load(sample / "phantom_labels.nii.gz").dataobj)
            boxes = json.loads((sample / "phantom_boxes.json").read_text())["targets"]
            yield sample / "phantom.nii.gz", labels, [(of["name"], of["label"], of["task"]) for of in boxes], []
        elif volume == "dicom-ct":
            series = SHARED / "dicom-ct"
            if not series.is_dir():
                print(f"SKIPPED the liver of dicom-ct: {series} is not there")
                continue
            said = subprocess.run([args.medsegx, "info", series, "--volume", "1", "--json"], check=True, capture_output=True)
            affine = np.array(json.loads(said.stdout)["geometry"]["affine"])
            labels = on_grid(kept / "example_seg_dicom.nii.gz", affine)
            yield series, labels, [("dicom-ct liver", 5, "CT_Liver")], ["--intensity", "soft"]
        else:
            image, of = {"ct": ("example_ct_sm", "example_seg"), "mr": ("example_mr_sm", "example_seg_mr")}[volume]
            labels = np.asarray(nibabel.load(kept / f"{of}.nii.gz").dataobj)
            named = [entry for entry in json.loads((kept / "labels.json").read_text())[of] if entry["task"]]
            targets = [(f"{volume} {entry['name']}", entry["label"], entry["task"]) for entry in named]
            yield kept / f"{image}.nii.gz", labels, targets, ["--intensity", "soft"] if volume == "ct" else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", default=ROOT / "target/release/medsegx", type=pathlib.Path)
    parser.add_argument("--weights", help="default: those in the program")
    parser.add_argument("--volume", nargs="+", choices=("phantom", "dicom-ct", "ct", "mr"), default=("phantom", "dicom-ct"))
    parser.add_argument("--each", action="store_true", help="each run with its ends and the loss of every slice, too")
    args = parser.parse_args()
    print("| target | convex | slices beyond | slices short | slices that lose more than 0.03 | largest loss in a box "
          "| from the quarters: beyond, short, lose |")
    print("|" + "---|" * 7)
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for image, labels, targets, more in cases(args):
            for name, label, task in targets:
                measure(args, totals, image, labels, name, label, task, more, pathlib.Path(folder))
    conclude(totals)


if __name__ == "__main__":
    main()
