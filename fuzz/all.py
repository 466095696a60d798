#!/usr/bin/env python3
"""Every fuzz target for a while, and the table of what came of it.

    python3 fuzz/all.py [--seconds 600] [--jobs 1] [--targets nifti npy ..] [--minimise] [--seed N] [--low]

Builds the targets as `fuzz/run.sh` does, begins each with its corpus and seeds, and prints a row a target: executions,
edges (`cov` of libFuzzer) before and after, minutes of processor time, minutes since the last new edge, findings. `--minimise` keeps of each corpus what
covers as much before that. Fails where there is a finding; its input lies in fuzz/artifacts then.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = sorted(re.findall(r'^\[\[bin\]\]\nname = "(\w+)"', (HERE / "Cargo.toml").read_text(), re.MULTILINE))

# libFuzzer's exit code where it was asked to end.
INTERRUPTED = 72


def command(target, *options):
    return ["bash", str(HERE / "run.sh"), target, *options]


def minimise(target):
    corpus, fewer = HERE / "corpus" / target, HERE / "corpus" / f"{target}.fewer"
    shutil.rmtree(fewer, ignore_errors=True)
    fewer.mkdir(parents=True)
    binary = HERE / f"target/x86_64-unknown-linux-gnu/release/{target}"
    options = ["-merge=1", "-detect_leaks=0", "-rss_limit_mb=3000", "-timeout=60"]
    done = subprocess.run([binary, *options, fewer, corpus], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode == 0 and any(fewer.iterdir()):
        shutil.rmtree(corpus)
        fewer.rename(corpus)


def processor_seconds(pid):
    """That a process has had so far; None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end_after(process, seconds):
    """Interrupts a target once it has had its processor time; libFuzzer prints its figures then."""
    while (used := processor_seconds(process.pid)) is not None and process.poll() is None:
        if used >= seconds:
            process.send_signal(signal.SIGINT)
            return
        time.sleep(0.5)


def fuzz(target, seconds, low, seed):
    """-> row of the table, findings"""
    artifacts = HERE / "artifacts" / target
    artifacts.mkdir(parents=True, exist_ok=True)
    run = command(target, "-max_total_time=86400", f"-artifact_prefix={artifacts}/", f"-seed={seed}")
    process = subprocess.Popen((["nice", "-n", "19"] if low else []) + run, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, errors="replace",
                               env=dict(os.environ, FUZZ_NO_BUILD="1"))
    threading.Thread(target=end_after, args=(process, seconds), daemon=True).start()
    latest, edges, first, executions, used, tail = 0.0, 0, 0, 0, 0.0, []
    for line in process.stderr:
        tail = (tail + [line])[-400:]
        used = processor_seconds(process.pid) or used
        if found := re.search(r"\tINITED cov: (\d+)", line):
            first = edges = int(found[1])
            latest = used
        elif (found := re.search(r"\bcov: (\d+)", line)) and int(found[1]) > edges:
            edges, latest = int(found[1]), used
        if found := re.match(r"stat::number_of_executed_units:\s+(\d+)", line):
            executions = int(found[1])
    code = process.wait()
    found = code not in (0, INTERRUPTED)
    if found:
        (HERE / "artifacts" / f"{target}.log").write_text("".join(tail))
    finding = f"exit code {code}, see artifacts/{target}.log" if found else "none"
    row = f"| {target} | {executions:,} | {first:,} | {edges:,} | {used / 60:.1f} | {(used - latest) / 60:.1f} | {finding} |"
    return row, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="of processor time, each target")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs that are tried; 0: another each time")
    parser.add_argument("--low", action="store_true", help="at the lowest priority, beside other work")
    args = parser.parse_args()
    subprocess.run(command("--build"), check=True, stdout=sys.stderr)
    if args.minimise:
        for target in args.targets:
            if (HERE / "corpus" / target).is_dir():
                minimise(target)
    print("| target | executions | edges at the start | edges | minutes | minutes since the last new edge | findings |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = False
    with ThreadPoolExecutor(args.jobs) as pool:
        for row, finding in pool.map(lambda target: fuzz(target, args.seconds, args.low, args.seed), args.targets):
            print(row, flush=True)
            found |= finding
    sys.exit(found)


if __name__ == "__main__":
    main()
