#!/usr/bin/env python3
"""`medsegx batch` at size, with the demo weights: 100 small volumes, seven of them broken in different ways, killed twice and
resumed to the bytes of a clean run; volumes of one slice and of 64 beside single commands; the share of the time that is
not the network's; peak memory; how long a manifest of 10,000 files takes to plan and to resume; how quickly SIGTERM ends a
run, also as process 1. Prints what it measured.

    python3 tools/check_batch.py target/release/medsegx
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import tempfile
import time

BROKEN = ["vanished", "short", "noise", "outside", "misspelt", "quote", "unboxed"]


def volume(seed, side=64, slices=8, noise=30):
    """A .nii.gz with a bright disc on noise"""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, side, side, slices, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 2, 0, 0, 0, 0)
    struct.pack_into("<ff", header, 108, 352, 1)
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)
    header[344:348] = b"n+1\0"
    rng, radius = random.Random(seed), 120 + seed % 90
    inside = [(x - side // 2) ** 2 + (y - side // 2) ** 2 < radius for y in range(side) for x in range(side)]
    noise = [rng.randrange(noise) for _ in range(997)]
    values = ((200 if inside[i % side**2] else 20) + noise[i * 7 % 997] for i in range(side**2 * slices))
    return gzip.compress(bytes(header) + bytes(4) + struct.pack(f"<{side**2 * slices}h", *values), 1, mtime=0)


def make(folder, count, broken=0, slices=1, depth=8):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,task,flags"]
    for index in range(count):
        flags, task, data = f"--box 16,16,48,48 --slice {index % 8}", "CT_Liver", volume(index, slices=depth)
        if depth > 8:
            flags = f"--box3d 16,16,0,48,48,{depth - 1}"
        if slices > 1:
            flags = f"--box3d 16,16,0,48,48,{index % slices}"
        if slices > 1 and index % 5 == 4:
            data, flags = volume(index, noise=1), f"--box3d 0,0,0,10,10,{index % slices}"
        kind = BROKEN[index // 3 % 7] if broken and index % 3 == 2 and index < 3 * broken else None
        data = {"short": data[: len(data) // 2], "noise": bytes([7]) * 900, "vanished": None}.get(kind, data)
        flags = {"outside": "--box 900,900,950,950 --slice 1", "quote": flags + " 'soft", "unboxed": ""}.get(kind, flags)
        if data is not None:
            (folder / f"{index:03}.nii.gz").write_bytes(data)
        lines.append(f"{index:03}.nii.gz,{'CT_Livver' if kind == 'misspelt' else task},\"{flags}\"")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def rows(folder, name="summary"):
    """Rows by case, without the seconds and where the images lie"""
    table = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    for row in table:
        del row["seconds"]
    return table


def compare(one, other):
    masks = [{p.name: p.read_bytes() for p in folder.glob("*.nii.gz")} for folder in (one, other)]
    assert masks[0] and masks[0] == masks[1], "masks differ"
    assert rows(one) == rows(other), "rows differ"
    left = [p.name for p in other.rglob("*.tmp")]
    assert not left, left


def batch(binary, folder, out, *more):
    return [binary, "batch", folder / "manifest.csv", "--out", out, "--device", "cpu", "--quiet", *more]


def wait_for(out, count):
    for _ in range(60000):
        if len(list((out / ".medsegx/cases").glob("*.json"))) >= count:
            return
        time.sleep(0.001)
    raise SystemExit("cases never came")


def killed(binary, folder):
    make(folder, 100, broken=7)
    clean, out = folder / "clean", folder / "out"
    assert subprocess.run(batch(binary, folder, clean), stderr=subprocess.DEVNULL).returncode == 3
    for count in (15, 60):
        run = subprocess.Popen(batch(binary, folder, out, "--resume"), stderr=subprocess.DEVNULL)
        wait_for(out, count)
        run.kill()
        run.wait()
    assert subprocess.run(batch(binary, folder, out, "--resume"), stderr=subprocess.DEVNULL).returncode == 3
    compare(clean, out)
    failed = sorted({row["code"] for row in rows(out) if row["status"] == "failed"})
    assert sum(row["status"] == "failed" for row in rows(out)) == 7
    print("100 volumes, 7 broken, killed twice: the bytes of a clean run; codes", *failed)


def alternate(binary, folder, count, flags, pairs):
    """How many times the throughput of single commands a batch has, in turns; the same masks"""
    ratios = []
    for _ in range(pairs):
        for name in ("many", "single"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "single").mkdir()
        start = time.monotonic()
        subprocess.run(batch(binary, folder, folder / "many"), check=True)
        middle = time.monotonic()
        for index in range(count):
            name = f"{index:03}.nii.gz"
            own = ["--device", "cpu", "-q", "--task", "CT_Liver", *flags(index)]
            subprocess.run([binary, "segment", folder / name, "-o", folder / "single" / name, *own], check=True)
        ratios.append((time.monotonic() - middle) / (middle - start))
    for path in (folder / "single").iterdir():
        assert path.read_bytes() == (folder / "many" / path.name).read_bytes(), path
    return ratios


def throughput(binary, folder):
    make(folder, 40)
    ratios = alternate(binary, folder, 40, lambda index: ["--box", "16,16,48,48", "--slice", str(index % 8)], 3)
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"40 volumes, one slice each: throughput {shown} x that of single commands")
    assert statistics.median(ratios) >= 1.2


def deep(binary, folder, count=3):
    """Where the network has all the time, one process for all cases costs nothing"""
    make(folder, count, depth=64)
    ratios = alternate(binary, folder, count, lambda index: ["--box3d", "16,16,0,48,48,63"], 3)
    shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"{count} volumes, 64 slices each: throughput {shown} x that of single commands")
    assert statistics.median(ratios) >= 1


def outside(binary, folder, count=40):
    """How much of a batch's time, from its start to its end, is not that of the network"""
    make(folder, count)
    weights = folder / "vit_b.safetensors"
    subprocess.run([binary, "synth", "--config", "vit_b", "-o", weights], stderr=subprocess.DEVNULL, check=True)
    command = [*batch(binary, folder, folder / "out"), "--threads", "2", "--weights", weights]
    start = time.monotonic()
    subprocess.run([*command, "--", "--report", "{case}.json"], check=True)
    took = time.monotonic() - start
    reports = [json.loads(path.read_text())["seconds"] for path in (folder / "out").glob("*.json")]
    network = sum(seconds["encode"] + seconds["decode"] for seconds in reports)
    share = 1 - network / took
    shown = f"{100 * share:.1f} % of {took:.0f} s outside the network"
    print(f"vit_b, 2 threads, {len(reports)} volumes, one slice each: {shown}")
    assert len(reports) == count and share <= 0.03


def peak(command):
    """The most memory that a command had, in MiB"""
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, command
    return usage.ru_maxrss / 1024


def stated(command):
    """The most memory that a batch says it will take, in MiB"""
    said = subprocess.run([*command, "--dry-run"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(re.search(r"memory at most (\d+) MiB", said).group(1))


def memory(binary, folder):
    """Large volumes, whose voxels are what takes memory: with one prompted slice, after which nothing wants them any more,
    and with prompts to the last slice"""
    one = ["--box", "64,64,192,192", "--slice", "100"]
    held_by(binary, folder / "one", [256, 256, 256], 6, "one slice", one)
    every = ["--box3d", "200,200,0,800,800,15"]
    held_by(binary, folder / "every", [1024, 1024, 16], 4, "every slice", every)


def held_by(binary, folder, dims, count, kind, flags, turns=3):
    """A batch of `count` volumes beside one of them alone: no more than the voxels of another one on top"""
    folder.mkdir(parents=True)
    side, _, slices = dims
    small = gzip.decompress(volume(1, side, 4))
    header = bytearray(small[:352])
    struct.pack_into("<h", header, 46, slices)
    image = folder / "large.nii"
    image.write_bytes(bytes(header) + small[352:] * (slices // 4))
    lines = [f"{image.name},{index}.nii.gz" for index in range(count)]
    (folder / "manifest.csv").write_text("\n".join(["image,output", *lines]) + "\n")
    flags = ["--task", "CT_Liver", *flags]
    single = [binary, "segment", image, "-o", folder / "alone.nii.gz", "--device", "cpu", "-q", "--force", *flags]
    alone = [peak(single) for _ in range(turns)]
    many = [peak([*batch(binary, folder, folder / "out"), "--force", "--", *flags]) for _ in range(turns)]
    said = stated([*batch(binary, folder, folder / "out"), "--force"])
    voxels = dims[0] * dims[1] * dims[2] * 2 / 2**20
    spans = [f"{min(these):.0f} to {max(these):.0f}" for these in (many, alone)]
    print(f"{count} volumes of {voxels:.0f} MiB, {kind}: {spans[0]} MiB, {said} stated; one alone {spans[1]} MiB")
    assert max(many) <= statistics.median(alone) + voxels and max(many) <= said


def copies(folder, out, count):
    """More cases, up to `count`: images, masks, records and pictures of those that are done, under other names"""
    head, *lines = (folder / "manifest.csv").read_text().splitlines()
    done = []
    for path in sorted((out / ".medsegx/cases").glob("*.json")):
        record = json.loads(path.read_text())
        if record["row"]["status"] == "done":
            image, mask = folder / f"{record['row']['case']}.nii.gz", out / record["row"]["output"]
            line = next(line for line in lines if line.startswith(f"{image.name},"))
            sheet = (out / ".medsegx/sheets" / path.name).with_suffix(".png")
            sheet = sheet.read_bytes() if sheet.exists() else None
            done.append((record, line, image, image.read_bytes(), mask.read_bytes(), sheet))
    for index in range(len(lines), count):
        record, line, image, *data, sheet = done[index % len(done)]
        name = f"{index:05}"
        record["row"].update(case=name, output=f"{name}.nii.gz", image=str(folder / f"{name}.nii.gz"))
        for stamps, base, content in zip(("inputs", "outputs"), (folder, out), data):
            file = base / f"{name}.nii.gz"
            file.write_bytes(content)
            where = file.name if stamps == "outputs" else str(file)
            record[stamps][0].update(path=where, time=file.stat().st_mtime_ns)
        own = f"{name}-{hashlib.sha256(f'{name}.nii.gz'.encode()).hexdigest()[:12]}"
        (out / f".medsegx/cases/{own}.json").write_text(json.dumps(record))
        if sheet:
            (out / f".medsegx/sheets/{own}.png").write_bytes(sheet)
        lines.append(line.replace(image.name, f"{name}.nii.gz"))
    (folder / "manifest.csv").write_text("\n".join([head, *lines]) + "\n")


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def large(binary, folder, count=10_000):
    """One case is run, the others are copies of it"""
    make(folder, 1)
    out = folder / "out"
    subprocess.run(batch(binary, folder, out), check=True)
    copies(folder, out, count)
    took = []
    for more in (["--dry-run"], ["--dry-run", "--shard", "1/8"], []):
        turns = []
        for _ in range(3):
            start, before = time.monotonic(), cpu_seconds()
            run = subprocess.run([*batch(binary, folder, out, "--resume"), *more], stdout=subprocess.PIPE, check=True)
            turns.append((time.monotonic() - start, cpu_seconds() - before))
        took.append([min(turn[kind] for turn in turns) for kind in (0, 1)])
    assert len(rows(out)) == count and all(row["status"] == "done" for row in rows(out)), run
    planned, shard, resumed = (f"{wall:.2f} s ({cpu:.2f} s of the processor)" for wall, cpu in took)
    print(f"{count} files: planned in {planned}, a shard of 8 in {shard}; resumed, all done, in {resumed}")
    # Where other programs want the cores too, the time on the clock says little.
    assert max(min(turn) for turn in took) < 2


def pages(folder, binary, count):
    """A page of `count` cases: 40 of one to four slices, 7 of them broken and some doubtful, the others copies of these;
    written again with the same bytes"""
    make(folder, 40, broken=7, slices=4)
    run = batch(binary, folder, folder / "out", "--qc", "--resume")
    took, seen = [], []
    for turn in range(3):
        start = time.monotonic()
        assert subprocess.run(run, stderr=subprocess.DEVNULL).returncode == 3
        took.append(f"{time.monotonic() - start:.1f} s")
        seen.append(hashlib.sha256((folder / "out/qc.html").read_bytes()).hexdigest())
        if turn == 0:
            copies(folder, folder / "out", count)
    assert seen[0] != seen[1] == seen[2], "the page has other bytes when resumed"
    print(f"40 cases with a page in {took[0]}; the page of {count} in {took[1]}, and again with the same bytes")


def stopped(binary, folder, turns=9):
    make(folder, 30)
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    as_first = os.geteuid() == 0 and subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode == 0
    for wrapper in [[], unshare] if as_first else [[]]:
        took = [stop(binary, folder, folder / f"out{len(wrapper)}-{turn}", wrapper, turn) for turn in range(turns)]
        place = " as process 1" if wrapper else ""
        print(f"three SIGTERM{place}: 130 after {min(took):.0f} to {max(took):.0f} ms, median {statistics.median(took):.0f}")
        # Every thread waits its turn where more programs run than there are cores.
        assert statistics.median(took) < 50 * max(1, os.getloadavg()[0] / os.cpu_count())


def stop(binary, folder, out, wrapper, turn):
    """Milliseconds until a batch has ended after the first of three SIGTERM"""
    run = subprocess.Popen([*wrapper, *batch(binary, folder, out)], stderr=subprocess.DEVNULL)
    wait_for(out, 5)
    time.sleep(0.01 * turn)
    inner = run.pid
    if wrapper:
        inner = int(pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()[0])
    start = time.monotonic()
    for _ in range(3):
        os.kill(inner, signal.SIGTERM)
    code = run.wait()
    took = time.monotonic() - start
    done = sum(row["status"] == "done" for row in rows(out))
    masks, records = (len(list(out.glob(names))) for names in ("*.nii.gz", ".medsegx/cases/*.json"))
    # The fifth may have been in the middle of its files.
    assert code == 130 and done == masks == records >= 4 and not list(out.rglob("*.tmp")), (code, done, masks, records)
    return took * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path, nargs="?")
    parser.add_argument("--make", type=pathlib.Path, metavar="DIR", help="only make small volumes and their manifest")
    parser.add_argument("--pages", type=pathlib.Path, metavar="DIR", help="only make volumes and their page")
    parser.add_argument("--check", action="append", help="only the check of this name")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--compare", type=pathlib.Path, nargs=2, metavar="DIR", help="only compare two folders of results")
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.make, arguments.count)
    if arguments.pages:
        return pages(arguments.pages, arguments.binary.resolve(), arguments.count)
    if arguments.compare:
        return compare(*arguments.compare)
    with tempfile.TemporaryDirectory() as folder:
        for check in (killed, throughput, deep, outside, memory, large, stopped):
            if not arguments.check or check.__name__ in arguments.check:
                start = time.monotonic()
                check(arguments.binary.resolve(), pathlib.Path(folder) / check.__name__)
                print(f"    ({check.__name__}: {time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
