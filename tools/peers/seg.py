#!/usr/bin/env python3
"""Writing a DICOM SEG in medsegx beside highdicom, in turns, in one run: labels in memory to a file, headers read anew.

    python3 tools/peers/seg.py [--medsegx target/release/medsegx] [--slices 300] [--segments 5]

Prints a Markdown table: milliseconds, and the most that each process took above what it had with the labels. Both files hold
the labels that were drawn, or nothing is printed. Linux; needs tools/requirements-checks.txt.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import SimpleITK
from pydicom.uid import ExplicitVRLittleEndian

from dicom import SIDE, simpleitk, volume, write
from tune import status


def labels(slices, segments):
    """[slices, SIDE, SIDE] bytes: a ball for each segment, side by side."""
    z, y, x = numpy.ogrid[:slices, :SIDE, :SIDE]
    values = numpy.zeros((slices, SIDE, SIDE), numpy.uint8)
    radius = SIDE / (2.2 * segments)
    for segment in range(segments):
        flat = (x - (segment + 0.5) * SIDE / segments) ** 2 + (y - SIDE / 2) ** 2
        values[flat + ((z - slices / 2) * 2 * radius / slices) ** 2 < radius**2] = segment + 1
    return values


def highdicom(series, drawn, output):
    """In a process of its own: says `ready`, then answers each line with milliseconds and bytes above the labels."""
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    values = numpy.load(drawn)
    pathlib.Path("/proc/self/clear_refs").write_text("5")       # the peak begins anew
    before = status("VmRSS")
    algorithm = highdicom.AlgorithmIdentificationSequence("drawn", codes.DCM.ArtificialIntelligence, "1")
    kind = codes.SCT.Organ
    descriptions = [
        highdicom.seg.SegmentDescription(n, f"label {n}", kind, kind, "AUTOMATIC", algorithm) for n in range(1, int(values.max()) + 1)
    ]
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(pathlib.Path(series).iterdir())]
        segmentation = highdicom.seg.Segmentation(
            sources, values, "BINARY", descriptions, highdicom.UID(), 1, highdicom.UID(), 1, "none", "none", "1", "1"
        )
        segmentation.save_as(output)
        print(1e3 * (time.perf_counter() - start), status("VmHWM") - before, flush=True)


def read_back(path):
    """Labels of a file that a third tool reads."""
    import highdicom

    found = highdicom.seg.segread(path)
    return found.get_volume(combine_segments=True, relabel=False, skip_overlap_checks=True, dtype=numpy.uint8)


def main():
    if sys.argv[1:2] == ["--peer"]:
        return highdicom(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--medsegx", type=pathlib.Path, default="target/release/medsegx")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--segments", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        series = write(folder / "series", volume(options.slices), ExplicitVRLittleEndian)
        values = labels(options.slices, options.segments)
        numpy.save(folder / "labels.npy", values)
        image = SimpleITK.GetImageFromArray(values)
        image.CopyInformation(simpleitk(series))
        SimpleITK.WriteImage(image, str(folder / "labels.nii"))
        ours, theirs = folder / "medsegx.dcm", folder / "highdicom.dcm"
        command = [options.medsegx, "bench", "write", folder / "labels.nii", "--series", series, "-o", ours, "--repeats", 3, "--json"]
        peer = [sys.executable, __file__, "--peer", series, folder / "labels.npy", theirs]
        process = subprocess.Popen([str(word) for word in peer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        rows, others = [], []
        for _ in range(options.rounds):
            found = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(found.stdout))
            process.stdin.write("\n")
            process.stdin.flush()
            others.append([float(number) for number in process.stdout.readline().split()])
        process.communicate()
        for path in (ours, theirs):
            found = read_back(path)
            if numpy.any(numpy.bincount(found.array.ravel())[1:] != numpy.bincount(values.ravel())[1:]):
                sys.exit(f"{path.name}: other numbers of voxels than were drawn")
        print(f"{options.slices} slices of {SIDE} x {SIDE}, {options.segments} segments, medians of {options.rounds} turns\n")
        print("| | medsegx | highdicom | ratio |\n|---|---|---|---|")
        milliseconds = statistics.median(row["write_ms"] for row in rows), statistics.median(other[0] for other in others)
        memory = max(row["above_bytes"] for row in rows) / 1e6, max(other[1] for other in others) / 1e6
        for what, (a, b) in (("ms", milliseconds), ("MB above the labels", memory)):
            print(f"| {what} | {a:.0f} | {b:.0f} | {a / b:.2f} |")


if __name__ == "__main__":
    main()
