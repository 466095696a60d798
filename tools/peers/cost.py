#!/usr/bin/env python3
"""What medsegx costs as work grows: time, peak of resident memory and what `medsegx plan` says of it before the run.

    python3 tools/peers/cost.py                             # every row; minutes to an hour, by the machine
    python3 tools/peers/cost.py --rows slices,threads       # some
    python3 tools/peers/cost.py --rows slices --slices 1,10 # with fewer slices

Every row is one `medsegx segment` of a made-up 512 x 512 volume with synthetic weights, in a process of its own. `loading`
is what that run says of it (--report, whose hashes are computed beside the work). Runs on Linux and macOS.
"""
import argparse
import array
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SIDE = 512
TASKS = ["CT_Liver", "CT_Spleen", "CT_RightKidney", "CT_LeftKidney", "CT_GallBladder", "CT_Stomach", "CT_Aorta"]


def write_volume(path, slices):
    """An int16 array [slices, 512, 512] in npy format: a bright disc on a ramp, moving from slice to slice."""
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({slices}, {SIDE}, {SIDE}), }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    ramp = [array.array("h", [(3 * x + y) % 400 - 200 for x in range(SIDE)]) for y in range(SIDE)]
    bright = array.array("h", [900]) * SIDE
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for index in range(slices):
            centre, rows = 200 + index % 100, []
            for y, row in enumerate(ramp):
                half = int(max(0, 80**2 - (y - 250) ** 2) ** 0.5)
                rows.append(row[: centre - half] + bright[: 2 * half] + row[centre + half :])
            for row in rows:
                (row if sys.byteorder == "little" else swapped(row)).tofile(file)


def swapped(row):
    row = array.array("h", row)
    row.byteswap()
    return row


def measured(command):
    """Seconds and peak bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, process.returncode = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.volumes, self.weights = {}, {}

    def volume(self, slices):
        if slices not in self.volumes:
            self.volumes[slices] = self.folder / f"{slices}.npy"
            write_volume(self.volumes[slices], slices)
        return self.volumes[slices]

    def weights_file(self, config, pixels):
        """The file of one model; files of others go, since the largest has 2.5 GB."""
        if (config, pixels) not in self.weights:
            for path in self.weights.values():
                path.unlink()
            path = self.folder / f"{config}-{pixels}.safetensors"
            command = [self.options.medsegx, "synth", "--config", config, "--image-size", str(pixels), "-o", path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.weights = {(config, pixels): path}
        return self.weights[config, pixels]

    def row(self, what, *, slices=1, tasks=1, batch=None, threads=None, config=None, pixels=256, precision="f32"):
        options = self.options
        config, threads = config or options.config, threads or options.threads
        batch = batch or (4 if pixels == 256 else 1)
        weights = self.weights_file(config, pixels)
        boxes, report = self.folder / "boxes.json", self.folder / "report.json"
        targets = [
            {"name": task, "task": task, "label": label, "slices": {str(k): [120, 170, 380, 330] for k in range(slices)}}
            for label, task in enumerate(TASKS[:tasks], 1)
        ]
        boxes.write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": targets}))
        size = ["--batch", batch, "--threads", threads, "--precision", precision]
        command = [options.medsegx, "segment", self.volume(slices), "-o", self.folder / "mask.npy", "--force", "--quiet"]
        command += ["--device", "cpu", "--weights", weights, "--boxes", boxes, "--report", report, *size]
        seconds, peak = measured(command)
        times = json.loads(report.read_text())["seconds"]
        plan = [options.medsegx, "plan", "--weights", weights, "--json", *size]
        plan = subprocess.run([str(word) for word in plan], check=True, stdout=subprocess.PIPE).stdout
        planned = json.loads(plan)["memory"]["peak"]
        network = 1e3 * (times["encode"] + times["decode"]) / (slices * tasks)
        print(
            f"| {what} | {config} {precision} | {slices} | {tasks} | {batch} | {threads} | {seconds:.2f} | {times['load']:.2f} | {network:.0f} "
            f"| {peak / 1e6:.0f} | {planned / 1e6:.0f} |",
            flush=True,
        )


def main():
    groups = ["slices", "tasks", "batch", "threads", "precision", "models", "pixels"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--medsegx", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    parser.add_argument("--rows", default=",".join(groups), help="groups of rows; default: %(default)s")
    parser.add_argument("--config", default="vit_b", help="model of the rows that do not compare models")
    parser.add_argument("--slices", default="1,10,100,300")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    unknown = set(options.rows.split(",")) - set(groups)
    if unknown:
        parser.error(f"--rows: got {','.join(sorted(unknown))}; needs some of {','.join(groups)}")

    print("| varied | model | slices | tasks | batch | threads | total s | loading s | network ms a mask | peak MB | planned MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, pathlib.Path(folder))
        for group in options.rows.split(","):
            if group == "slices":
                for slices in map(int, options.slices.split(",")):
                    bench.row("slices", slices=slices)
            if group == "tasks":
                for tasks in (1, 3, 7):
                    bench.row("tasks", slices=4, tasks=tasks)
            if group == "batch":
                for batch in (1, 4, 16):
                    bench.row("batch", slices=16, batch=batch)
            if group == "threads":
                for threads in (1, 2):
                    bench.row("threads", slices=4, threads=threads)
            if group == "precision":
                for precision in ("f32", "bf16"):
                    bench.row("precision", slices=4, precision=precision)
            if group == "models":
                for config in ("vit_b", "vit_l", "vit_h"):
                    bench.row("model", config=config)
            if group == "pixels":
                for config in ("vit_b", "vit_l", "vit_h"):
                    bench.row("1024 px", config=config, pixels=1024)


if __name__ == "__main__":
    main()
