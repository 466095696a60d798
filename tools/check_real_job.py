#!/usr/bin/env python3
"""The main job on real input: segments the CT and the MR of ../shared with boxes from their label maps, and evaluates
the five example sets of MedSegDB. With synthetic weights the scores mean nothing; what is checked is the machinery:
masks on the input's grid, labels where boxes are, complete reports. Needs numpy and nibabel."""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import nibabel
import numpy as np

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared"
VOLUMES = {"example_ct_sm.nii.gz": "example_seg.nii.gz", "example_mr_sm.nii.gz": "example_seg_mr.nii.gz"}
TARGETS_A_VOLUME = 3
SETS = [("eval/ID", "internal"), ("eval/OOD", "external"), ("eval/RealWorld", "external")]


def run(binary, *arguments):
    command = [str(binary), *map(str, arguments)]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True)


def tasks_of(labels_file):
    """label -> (name, MedSegDB task) for the labels of this file that have a task"""
    table = json.loads((SHARED / "data/ct-mr-volumes/labels.json").read_text())
    entries = table[labels_file.removesuffix(".nii.gz")]
    return {entry["label"]: (entry["name"], entry["task"]) for entry in entries if entry["task"]}


def boxes(labels, wanted):
    """The boxes file of the largest structures: a tight box on every slice that holds at least 30 pixels."""
    targets = []
    for label, (name, task) in sorted(wanted.items(), key=lambda item: -(labels == item[0]).sum())[:TARGETS_A_VOLUME]:
        slices = {}
        for k in range(labels.shape[2]):
            x, y = np.nonzero(labels[:, :, k] == label)
            if len(x) >= 30:
                slices[str(k)] = [int(x.min()), int(y.min()), int(x.max()), int(y.max())]
        if slices:
            targets.append({"name": name, "task": task, "label": label, "slices": slices})
    return {"version": 1, "space": "voxel", "inclusive": True, "targets": targets}


def check_volume(binary, weights, folder, image, labels_file):
    source = SHARED / "data/ct-mr-volumes" / image
    labels = np.asarray(nibabel.load(SHARED / "data/ct-mr-volumes" / labels_file).dataobj)
    prompts = boxes(labels, tasks_of(labels_file))
    boxes_file, mask_file, report_file = folder / "boxes.json", folder / image, folder / "report.json"
    boxes_file.write_text(json.dumps(prompts))
    run(binary, "segment", source, "-o", mask_file, "--weights", weights, "--boxes", boxes_file, "--report", report_file, "--force", "--quiet")
    mask = nibabel.load(mask_file)
    reference = nibabel.load(source)
    assert mask.shape == reference.shape, (mask.shape, reference.shape)
    assert np.array_equal(mask.affine, reference.affine), "the affine changed"
    found = np.asarray(mask.dataobj)
    expected = {t["label"] for t in prompts["targets"]}
    assert set(np.unique(found)) - {0} <= expected, np.unique(found)
    boxed = {int(k) for t in prompts["targets"] for k in t["slices"]}
    outside = [k for k in range(found.shape[2]) if k not in boxed and found[:, :, k].any()]
    assert not outside, f"mask on slices without a box: {outside}"
    report = json.loads(report_file.read_text())
    assert sum(len(t["slices"]) for t in report["targets"]) == sum(len(t["slices"]) for t in prompts["targets"])
    for target in report["targets"]:
        voxels = int((found == target["label"]).sum())
        print(f"  {image} {target['name']}: {len(target['slices'])} slices, {voxels} voxels")


def check_eval(binary, weights, folder, root, layout):
    out = folder / root.replace("/", "-")
    source = SHARED / "data/medsegdb-example" / root
    run(binary, "eval", source, "--layout", layout, "--weights", weights, "--out", out)
    labels = [p for p in source.glob("**/npy_gts/*.npy") if "finetune" not in p.parts]
    rows = [row for table in sorted(out.glob("*.csv")) for row in csv.DictReader(table.open())]
    assert len(rows) == len(labels), f"{root}: {len(rows)} rows for {len(labels)} labels"
    assert all(0.0 <= float(row["DSC"]) <= 1.0 for row in rows)
    print(f"  {root}: {len(rows)} slices evaluated")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/medsegx"))
    parser.add_argument("--weights", type=pathlib.Path, help="default: synthetic weights of the tiny configuration")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        print("SKIPPED real volumes and eval: ../shared is not there")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        weights = arguments.weights
        if weights is None:
            weights = folder / "tiny.safetensors"
            run(arguments.binary, "synth", "--config", "tiny", "-o", weights)
        for image, labels in VOLUMES.items():
            check_volume(arguments.binary, weights, folder, image, labels)
        for root, layout in SETS:
            check_eval(arguments.binary, weights, folder, root, layout)
    print("the main job holds")


if __name__ == "__main__":
    sys.exit(main())
