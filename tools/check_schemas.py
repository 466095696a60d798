#!/usr/bin/env python3
"""Holds docs/schema/ against real files: boxes files, reports of runs and summaries of batches must fit, and broken ones must
not; docs/formats.md names every field.

    python3 tools/check_schemas.py --medsegx target/release/medsegx

Needs jsonschema (tools/requirements-checks.txt)."""

import argparse
import copy
import json
import pathlib
import subprocess
import tempfile

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = [
    ["--boxes", "tests/data/phantom_boxes.json"],
    ["--task", "CT_Liver", "--box3d", "22,43,9,111,109,11"],
    # One voxel of background: an empty or doubtful mask, whose missing numbers are null with a reason.
    ["--task", "CT_Liver", "--box", "1,1,2,2", "--slice", "3", "--mask", "1"],
]


def schema(name):
    return jsonschema.Draft202012Validator(json.loads((ROOT / "docs/schema" / f"{name}.schema.json").read_text()))


def broken(report):
    """Copies of `report`, each with one thing wrong."""
    for field in report:
        without = copy.deepcopy(report)
        del without[field]
        yield f"without {field}", without
    wrong = copy.deepcopy(report)
    wrong["targets"][0]["slices"][0]["agreement_missing"] = None
    wrong["targets"][0]["slices"][0]["agreement"] = None
    yield "agreement missing without a reason", wrong
    wrong = copy.deepcopy(report)
    wrong["targets"][0]["voxels"] = -1
    yield "negative voxels", wrong
    if "tuned" in report["weights"]:
        wrong = copy.deepcopy(report)
        del wrong["weights"]["tuned"]["sha256"]
        yield "a tuned file without its hash", wrong


def tune(binary, output):
    """A tuned file; what it is worth does not matter."""
    labels = ["--labels", "tests/data/phantom_labels.nii.gz", "--label", "1=CT_Liver", "--slices", "9", "-o", output]
    short = ["--steps", "1", "--validate", "none", "--quiet"]
    subprocess.run([binary, "tune", "tests/data/phantom.nii.gz", *labels, *short], cwd=ROOT, check=True)
    return ["--tuned", output]


def check_summary(binary, folder, more):
    """A batch of two good cases, one of them with two prompts, and a bad one."""
    summary = schema("summary")
    image, labels = ROOT / "tests/data/phantom.nii.gz", ROOT / "tests/data/phantom_labels.nii.gz"
    target = {"name": "gallbladder", "task": "CT_GallBladder", "label": 5, "slices": {"12": [60, 80, 75, 95]}}
    boxes = {"version": 1, "space": "voxel", "inclusive": True, "targets": [target]}
    pathlib.Path(folder, "one.json").write_text(json.dumps(boxes))
    lines = [
        {"image": str(image), "output": "good.nii.gz", "flags": ["--task", "CT_Liver", "--box3d", "22,43,9,111,109,10"]},
        {"image": str(image), "boxes": "one.json", "output": "b.nii.gz", "flags": ["--tune-with", str(labels), "--tune-label", "5"]},
        {"image": "nowhere.nii.gz", "flags": ["--task", "CT_Liver", "--box3d", "1,1,1,2,2,2"]},
    ]
    manifest = pathlib.Path(folder, "manifest.jsonl")
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run([binary, "batch", manifest, "--out", f"{folder}/out", "--force", *more], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    rows = [json.loads(line) for line in pathlib.Path(folder, "out/summary.jsonl").read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["done", "done", "failed"], rows
    assert len(rows[1]["sha256"]["prompts"].split()) == 2, rows[1]
    refused = 0
    for row in rows:
        summary.validate(row)
        wrong = [{**row, "status": "pending" if row["code"] else "failed"}, {**row, "more": 1}, {**row, "slices": -1}]
        wrong += [{key: value for key, value in row.items() if key != left_out} for left_out in row]
        for one in wrong:
            assert not summary.is_valid(one), f"{one} passes"
            refused += 1
    return len(rows), refused


def check_page():
    """Every field of the schemas is in docs/formats.md."""
    page = (ROOT / "docs/formats.md").read_text()
    fields = {name for part in ("boxes", "report", "summary") for name in schema(part).schema["properties"]}
    missing = sorted(name for name in fields if f"`{name}" not in page)
    assert not missing, f"docs/formats.md lacks {missing}"
    return len(fields)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    binary = parser.parse_args().medsegx.resolve()
    boxes, report = schema("boxes"), schema("report")
    checked = refused = 0
    boxes.validate(json.loads((ROOT / "tests/data/phantom_boxes.json").read_text()))
    bad = {"version": 1, "space": "voxel", "inclusive": True, "targets": [{"name": "a", "label": 0, "box3d": [0] * 6}]}
    assert not boxes.is_valid(bad), "a label of 0 passes"
    with tempfile.TemporaryDirectory() as folder:
        tuned = tune(binary, f"{folder}/a.tuned.safetensors")
        # What follows the voxels is a warning of the image.
        image = pathlib.Path(folder, "image.nii.gz")
        image.write_bytes((ROOT / "tests/data/phantom.nii.gz").read_bytes() + b"more")
        for number, flags in enumerate([*RUNS, [*RUNS[1], *tuned]]):
            files = [f"{folder}/{number}.nii.gz", "--report", f"{folder}/{number}.json"]
            command = [binary, "segment", image, "--quiet", *flags, "-o", *files]
            subprocess.run(command, cwd=ROOT, check=True)
            found = json.loads(pathlib.Path(f"{folder}/{number}.json").read_text())
            report.validate(found)
            assert [warning["code"] for warning in found["input"]["warnings"]] == ["trailing-bytes"], found["input"]
            assert ("tuned" in found["weights"]) == ("--tuned" in flags), found["weights"]
            checked += 1
            for what, wrong in broken(found):
                assert not report.is_valid(wrong), f"{' '.join(flags)}: {what} passes"
                refused += 1
        of_batches = [check_summary(binary, folder, more) for more in ([], tuned)]
        rows, broken_rows = map(sum, zip(*of_batches))
    print(f"{checked} reports and {rows} rows fit docs/schema, {refused + broken_rows} broken copies do not")
    print(f"{check_page()} fields are in docs/formats.md")


if __name__ == "__main__":
    main()
