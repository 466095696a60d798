#!/usr/bin/env python3
"""How far `segment --propagate` is from tight boxes on every slice, for each organ of the sample volume and the liver of
../shared/data/dicom-ct. Each target is propagated four times from one box: on the slice where it is largest, and on those
at a quarter, half and three quarters of its slices. Of the four the worst is shown: how many slices the boxes go beyond the
target's ends, or end short of them; on how many slices the Dice is more than 0.03 below that with a tight box (slices that
got no box are among them); and the largest such loss where there is a box. Convex is the mean over slices of the share of
their convex hull that they fill. Needs numpy, scipy and nibabel."""

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


def measure(args, image, labels, name, label, task, more, folder):
    truth = tight(labels, label)
    slices, first, last = sorted(truth), min(truth), max(truth)
    target = {"name": name, "task": task, "label": 1, "slices": {str(k): box for k, box in truth.items()}}
    every, _ = segment(args, image, folder, more, target)
    largest = max(truth, key=lambda k: (labels[:, :, k] == label).sum())
    beyond, short, lost, loss_in_box = 0, 0, 0, -1.0
    for seed in sorted({largest, *(slices[len(slices) * quarter // 4] for quarter in (1, 2, 3))}):
        one = {**target, "slices": {str(seed): truth[seed]}}
        found, report = segment(args, image, folder, [*more, "--propagate"], one)
        low, high = report["propagation"]["targets"][0]["ends"]
        ends = [first - low["slice"], high["slice"] - last]
        loss = {}
        for k in truth:
            inside = labels[:, :, k] == label
            loss[k] = dice(every[:, :, k] > 0, inside) - dice(found[:, :, k] > 0, inside)
        beyond, short = max(beyond, *ends), max(short, *(-end for end in ends))
        lost = max(lost, sum(value > MOST_LOSS for value in loss.values()))
        loss_in_box = max(loss_in_box, *(loss[k] for k in truth if low["slice"] <= k <= high["slice"]))
        if args.each:
            shown = ", ".join(f"{by:+d} ({end['stop']} {end['value']})" for by, end in zip(ends, (low, high)))
            print(f"  {name} from slice {seed}: ends {shown}; " + " ".join(f"{k}:{v:+.3f}" for k, v in loss.items()))
    convex = convexity(labels, label, truth)
    print(f"| {name} | {convex:.2f} | {beyond} | {short} | {lost} of {len(truth)} | {loss_in_box:.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", default=ROOT / "target/release/medsegx", type=pathlib.Path)
    parser.add_argument("--weights", help="default: those in the program")
    parser.add_argument("--each", action="store_true", help="each run with its ends and the loss of every slice, too")
    args = parser.parse_args()
    print("| target | convex | slices beyond | slices short | slices that lose more than 0.03 | largest loss in a box |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sample = ROOT / "tests/data"
        labels = np.asarray(nibabel.load(sample / "phantom_labels.nii.gz").dataobj)
        for target in json.loads((sample / "phantom_boxes.json").read_text())["targets"]:
            measure(args, sample / "phantom.nii.gz", labels, target["name"], target["label"], target["task"], [], folder)
        series = SHARED / "dicom-ct"
        if not series.is_dir():
            print(f"SKIPPED the liver of dicom-ct: {series} is not there")
            return
        said = subprocess.run([args.medsegx, "info", series, "--volume", "1", "--json"], check=True, capture_output=True)
        affine = np.array(json.loads(said.stdout)["geometry"]["affine"])
        labels = on_grid(SHARED / "ct-mr-volumes/example_seg_dicom.nii.gz", affine)
        measure(args, series, labels, "dicom-ct liver", 5, "CT_Liver", ["--intensity", "soft"], folder)


if __name__ == "__main__":
    main()
