#!/usr/bin/env python3
"""How far masks depend on the processor's instructions, on real volumes.

    python3 tools/same_bytes.py MEDSEGX [--weights W] [--levels portable avx2 avx512]

Segments every structure of ../shared/data's small CT and MR volumes, boxed by its label map, at each level that the
processor has, and prints a row a volume and level: voxels inside, and how many voxels differ from the portable level's. Threads and batch
change no bit (tests/it/determinism.rs); levels may, since they sum in other orders. Fails where more than one voxel of 10,000 differs.
"""
import argparse
import gzip
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "../shared/data/ct-mr-volumes"
VOLUMES = (("example_ct_sm", "example_seg"), ("example_mr_sm", "example_seg_mr"))


def voxels(path):
    """Labels of a mask: everything behind the header, in bytes or in words."""
    file = gzip.decompress(path.read_bytes())
    bits = int.from_bytes(file[72:74], "little")
    start = int(struct.unpack("<f", file[108:112])[0])
    step = bits // 8
    return [file[at:at + step] for at in range(start, len(file), step)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("medsegx")
    parser.add_argument("--weights")
    parser.add_argument("--levels", nargs="+", default=["portable", "avx2", "avx512"])
    args = parser.parse_args()
    if not DATA.is_dir():
        print("SKIPPED masks between levels: ../shared/data is not there")
        return 0
    flags = cpu_flags()
    levels = [level for level in args.levels if {"avx2": "avx2", "avx512": "avx512f"}.get(level, "") in flags | {""}]
    for level in set(args.levels) - set(levels):
        print(f"SKIPPED {level}: this processor does not have it")
    print("| volume | level | voxels inside | differ from portable |\n|---|---|---|---|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for image, labels in VOLUMES:
            boxes, first = Path(folder) / f"{image}.json", None
            run(args.medsegx, "boxes", DATA / f"{labels}.nii.gz", "--image", DATA / f"{image}.nii.gz", "-o", boxes)
            for level in levels:
                mask = Path(folder) / f"{image}-{level}.nii.gz"
                weights = ["--weights", args.weights] if args.weights else []
                run(args.medsegx, "segment", DATA / f"{image}.nii.gz", "--boxes", boxes, "--task", "CT_Liver", "--level", level,
                    "--device", "cpu", "-o", mask, "--quiet", *weights)
                found = voxels(mask)
                first = first or found
                inside = sum(any(voxel) for voxel in found)
                differ = sum(a != b for a, b in zip(found, first, strict=True))
                print(f"| {image} | {level} | {inside:,} | {differ:,} |", flush=True)
                failed |= inside == 0 or differ * 10_000 > inside
    return int(failed)


def cpu_flags():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":")[1].split())
    return set()


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
