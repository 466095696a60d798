#!/usr/bin/env python3
"""`medsegx eval` against NumPy and SciPy: every row of the five example sets is scored again from the logits that
`medsegx segment --logits` writes for the same picture, box and task. Weights are synthetic; the scores only have to be
the same. Needs numpy and scipy."""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared"
DATA = SHARED / "data/medsegdb-example/eval"
# report name -> folder of its cases, folders between a case's own and npy_gts, place of the task in File
SETS = {
    "ID": (DATA / "ID", "", 1),
    "OOD-site": (DATA / "OOD/cross_site", "inference", 0),
    "OOD-task": (DATA / "OOD/cross_task", "inference", 0),
    "RealWorld-site": (DATA / "RealWorld/cross_site", "inference", 0),
    "RealWorld-task": (DATA / "RealWorld/cross_task", "inference", 0),
}
LAYOUTS = {"ID": "internal", "OOD": "external", "RealWorld": "external"}


def run(binary, *arguments):
    subprocess.run([str(binary), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def scores(mask, label):
    """DSC, HD95, NSD as MONAI 1.2 has them"""
    dsc = 2 * (mask & label).sum() / (mask.sum() + label.sum())
    if not mask.any():
        return 0.0, np.percentile(distance_transform_edt(~label)[~label], 95), 0.0
    edges = [m & ~binary_erosion(m) for m in (mask, label)]
    to = [distance_transform_edt(~e) for e in edges]
    distances = [to[1][edges[0]], to[0][edges[1]]]
    near = sum((d <= 2.0).sum() for d in distances)
    return dsc, max(np.percentile(d, 95) for d in distances), near / sum(map(len, distances))


def check(row, name, binary, weights, folder):
    root, between, task_place = SETS[name]
    *parents, file = row["File"].split("/")
    case = root.joinpath(*parents, between)
    label = np.load(case / "npy_gts" / file) > 0
    y, x = np.nonzero(label)
    box = ",".join(str(int(v)) for v in (x.min(), y.min(), x.max(), y.max()))
    mask_file, logits_file, report_file = folder / "mask.npy", folder / "logits.npy", folder / "report.json"
    run(binary, "segment", case / "npy_imgs" / file, "-o", mask_file, "--weights", weights, "--box", box, "--task",
        parents[task_place], "--logits", logits_file, "--report", report_file, "--force", "--quiet")
    masks = [scores(logits > 0, label) for logits in np.load(logits_file)[0]]
    best = max(range(3), key=lambda m: masks[m][0])
    chosen = json.loads(report_file.read_text())["targets"][0]["slices"][0]["mask"] - 1
    assert [row["BestMask"], row["ChosenMask"]] == [str(best + 1), str(chosen + 1)], (row, best, chosen)
    assert np.array_equal(np.load(mask_file) > 0, np.load(logits_file)[0, chosen] > 0), row["File"]
    for prefix, expected in (("", masks[best]), ("Chosen", masks[chosen])):
        for metric, value in zip(("DSC", "HD", "NSD"), expected):
            found = float(row[prefix + metric])
            assert found == float(np.float32(value)), f"{row['File']} {prefix}{metric}: expected {value}, found {found}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/medsegx"))
    binary = parser.parse_args().binary
    if not DATA.is_dir():
        print("SKIPPED scores of eval: ../shared is not there")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        weights = folder / "tiny.safetensors"
        run(binary, "synth", "--config", "tiny", "-o", weights)
        for root, layout in LAYOUTS.items():
            run(binary, "eval", DATA / root, "--layout", layout, "--weights", weights, "--out", folder, "--quiet")
        for report in SETS:
            with (folder / f"{report}.csv").open() as table:
                rows = list(csv.DictReader(table))
            for row in rows:
                check(row, report, binary, weights, folder)
            print(f"{report}: {len(rows)} rows scored alike")


if __name__ == "__main__":
    sys.exit(main())
