#!/usr/bin/env python3
"""Fails where a kernel of the CPU became slower: this build beside a baseline's, in turns, in one run.

    python3 tools/compare_kernels.py --baseline REVISION          # builds it below target/baseline
    python3 tools/compare_kernels.py --baseline-binary FILE

Both run `bench kernels` in turns. Of each operation and shape the best time of all turns counts, so that what else the machine
does drops out; where one seems more than --allowed slower, as many turns follow once more before that is believed. Prints a
Markdown table, and ends with 1 where a kernel lost. Build this revision first (cargo build --release).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(revision):
    """The binary of a revision, built once."""
    git = ["git", "-C", ROOT]
    found = subprocess.run([*git, "rev-parse", "--verify", f"{revision}^{{commit}}"], check=True, stdout=subprocess.PIPE, text=True)
    commit = found.stdout.strip()
    folder = ROOT / "target/baseline"
    binary = folder / commit
    if not binary.exists():
        source = folder / "source"
        source.mkdir(parents=True, exist_ok=True)
        archive = subprocess.Popen([*git, "archive", commit], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", source], stdin=archive.stdout, check=True)
        if archive.wait():
            sys.exit(f"git archive {commit} ended with {archive.returncode}")
        environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "cargo")}
        subprocess.run(["cargo", "build", "--release"], cwd=source, env=environment, check=True)
        (folder / "cargo/release/medsegx").replace(binary)
    return binary


def measure(binary, options):
    """Microseconds of each (operation, shapes)."""
    command = [binary, "bench", "kernels", "--json", "--config", options.config, "--repeats", options.repeats]
    command += ["--threads", options.threads, *(["--level", options.level] if options.level else [])]
    run = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return {(row["op"], row["shapes"]): (row["microseconds"], row["count"]) for row in json.loads(run.stdout)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", help="a revision")
    parser.add_argument("--baseline-binary", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    parser.add_argument("--config", default="vit_b", choices=["tiny", "vit_b", "vit_l", "vit_h"])
    parser.add_argument("--level", choices=["portable", "avx2", "avx512"], help="default: the widest of this processor")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=9, help="runs of a kernel in a turn, of which the median counts")
    parser.add_argument("--allowed", type=float, default=1.05, help="times the baseline's time")
    options = parser.parse_args()
    if (options.baseline is None) == (options.baseline_binary is None):
        parser.error("one of --baseline and --baseline-binary")
    baseline = options.baseline_binary or build(options.baseline)

    best = ({}, {})
    lost = None
    for _ in range(2):
        for _ in range(options.turns):
            for times, binary in zip(best, (baseline, options.binary)):
                for key, (time, count) in measure(binary, options).items():
                    times[key] = (min(time, times.get(key, (time,))[0]), count)
        both = [key for key in best[1] if key in best[0]]
        if not both:
            sys.exit("the two have no kernel in common")
        lost = [key for key in both if best[1][key][0] > options.allowed * best[0][key][0]]
        if not lost:
            break

    print("| kernel | shapes | times | us before | us | of before |\n|---|---|---|---|---|---|")
    for key in both:
        (before, _), (now, count) = best[0][key], best[1][key]
        print(f"| {key[0]} | {key[1]} | {count} | {before:.1f} | {now:.1f} | {now / before:.2f} |")
    before, now = (sum(times[key][0] * best[1][key][1] for key in both) for times in best)
    print(f"\nall of a slice: {before / 1e3:.1f} to {now / 1e3:.1f} ms, {now / before:.3f} of before")
    for only, name in ((best[0], "the baseline"), (best[1], "this build")):
        missing = [" ".join(key) for key in only if key not in both]
        if missing:
            print(f"only in {name}: {', '.join(missing)}")
    if lost:
        sys.exit(f"slower than {options.allowed} times the baseline: {', '.join(' '.join(key) for key in lost)}")


if __name__ == "__main__":
    main()
