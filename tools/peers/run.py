#!/usr/bin/env python3
"""medsegx beside PyTorch, ONNX Runtime and OpenVINO: one slice on the same threads, in turns, in one run.

    python3 tools/peers/run.py                          # makes an environment below target/ from requirements.txt
    python3 tools/peers/run.py --python /path/python3   # uses one that has the packages
    python3 tools/peers/run.py --config litemedsam      # the published weights, which it fetches
    python3 tools/peers/run.py --config vit_b_sam1024   # plain SAM at 1024 pixels; its golden tensors are in ../shared
    python3 tools/peers/run.py --kept                   # another prompt on a kept slice, beside PyTorch on its own embedding

Prints a Markdown table: medians, their ratio to OpenVINO in the same precision, the distance from the golden logits, and of
separate processes that start, load and run one slice the peak of resident memory and the time to the first result;
`cached` finds what it compiled in a process before. Every engine gets the same network (tools/torch_model.py, litemedsam.py
or, for PyTorch, its package's own code, checked against the golden logits), its own graph optimisations and the weights
from the page cache. Runs on Linux and macOS; build medsegx first (cargo build --release).
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAUSE = 0.05        # seconds between turns, in which the threads of the engine before go to sleep
OTHERS = {"OpenVINO": "openvino", "OpenVINO, cached": "openvino-cached", "ONNX Runtime": "onnxruntime", "PyTorch eager": "torch"}
BYTES = {"f32": 4, "bf16": 2}
FEATURES = ["avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_bf16", "amx_bf16"]


def environment():
    """The Python of an environment with the pinned packages."""
    folder = ROOT / "target/peers/python"
    python = folder / "bin/python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", HERE / "requirements.txt"], check=True)
    return python


class Engine:
    """How one engine is called in one precision."""

    def __init__(self, name, precision, options, folder, case):
        self.name, self.precision = name, precision
        self.logits = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{precision}.npy"
        if name == "medsegx":
            box, context = (",".join(map(str, case[key])) for key in ("box", "context"))
            common = ["--weights", folder / "weights.safetensors", "--threads", options.threads, "--precision", precision]
            picture = folder / "picture.npy"
            turns = [options.medsegx, "bench", "turns", *common, "--picture", picture, "--box", box, "--context", context]
            self.turns = [*turns, "--logits", self.logits, *(["--kept"] if options.kept else [])]
            mask = folder / "mask.npy"
            segment = [options.medsegx, "segment", picture, "-o", mask, "--force", "--quiet", "--device", "cpu", *common]
            self.once = [*segment, "--batch", 1, "--box", box, "--task", "CT_Liver"]
        else:
            peer = OTHERS[name] + ("-kept" if options.kept else "")
            engine = [options.python, HERE / "engine.py", peer, folder, options.threads, precision]
            self.turns = self.once = [*engine, self.logits]
        self.turns, self.once = ([str(word) for word in command] for command in (self.turns, self.once))
        self.times, self.starts, self.peaks = [], [], []

    def start(self):
        self.process = subprocess.Popen(self.turns, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} {self.precision} ended with {self.process.wait()}")
        return line.strip()

    def turn(self):
        time.sleep(PAUSE)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.answer())

    def end(self):
        self.process.communicate()
        if self.process.returncode:
            sys.exit(f"{self.name} {self.precision} ended with {self.process.returncode}")

    def first_result(self):
        """Seconds and peak bytes of a process that starts, loads, runs one slice and ends."""
        start = time.perf_counter()
        process = subprocess.Popen(self.once, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process.stdin.write(b"\n")
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{self.name} {self.precision} ended with {process.returncode}")
        self.starts.append(seconds)
        self.peaks.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def distances(python, folder, engines, step):
    """Relative L2 distance of each engine's logits from the golden ones, computed where NumPy is."""
    code = (
        "import sys, numpy as np\n"
        "gold = np.load(sys.argv[1])['logits'].astype(np.float64)\n"
        "step = int(sys.argv[2])\n"
        "for path in sys.argv[3:]:\n"
        "    found = np.load(path).astype(np.float64)[:, ::step, ::step]\n"
        "    print(np.linalg.norm(found - gold) / np.linalg.norm(gold))\n"
    )
    command = [python, "-c", code, folder / "case.npz", str(step), *(engine.logits for engine in engines)]
    return [float(line) for line in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()]


def processor():
    """Its name and what of its instructions matters here."""
    name, features = platform.processor() or platform.machine(), []
    if pathlib.Path("/proc/cpuinfo").exists():
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "model name":
                name = value
            elif key == "flags":
                features = [feature for feature in FEATURES if feature in value.split()]
    return f"{name} ({', '.join(features)})" if features else name


def table(options, case, engines, errors):
    rows = [
        "| engine | precision | ms a slice | of OpenVINO | distance from golden | peak MB | of parameters | first result, ms | of a slice |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    medians = {(e.name, e.precision): statistics.median(e.times) for e in engines}
    for engine, error in zip(engines, errors):
        median = medians[engine.name, engine.precision]
        openvino = medians.get(("OpenVINO", engine.precision))
        ratio = f"{median / openvino:.2f}" if openvino else ""
        peak, first = statistics.median(engine.peaks), 1e3 * statistics.median(engine.starts)
        parameters = case["parameters"] * BYTES[engine.precision]
        rows.append(
            f"| {engine.name} | {engine.precision} | {median:.0f} | {ratio} | {error:.1e} | {peak / 1e6:.0f} | {peak / parameters:.2f} "
            f"| {first:.0f} | {first / median:.2f} |"
        )
    text = f"{options.config}, {options.threads} threads of {processor()}, medians of {options.rounds} turns, {options.starts} starts; {case['name']}"
    return "\n".join([text, "", *rows])


def table_of_prompts(options, case, engines, errors):
    """Of another prompt on a kept slice."""
    theirs = statistics.median(engines[-1].times)
    rows = ["| engine | precision | ms a prompt | of PyTorch | distance from golden |", "|---|---|---|---|---|"]
    for engine, error in zip(engines, errors):
        median = statistics.median(engine.times)
        rows.append(f"| {engine.name} | {engine.precision} | {median:.2f} | {median / theirs:.2f} | {error:.1e} |")
    text = f"{options.config}, another prompt on a kept slice, {options.threads} threads of {processor()}, medians of {options.rounds} turns"
    return "\n".join([f"{text}; {case['name']}", "", *rows])


def export(options, folder):
    """Once; again where the network or this folder's scripts changed."""
    lite = options.config == "litemedsam"
    sources = [HERE / "litemedsam.py"] if lite else [ROOT / "tools/torch_model.py", HERE / "export.py"]
    done = folder / "case.json"
    if done.exists() and all(source.stat().st_mtime <= done.stat().st_mtime for source in sources):
        return
    weights = folder / "weights.safetensors"
    if lite:
        fetch = [sys.executable, ROOT / "tools/litemedsam.py", "weights", "--binary", options.medsegx]
        fetched = subprocess.run(fetch, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        shutil.copyfile(fetched, weights)
        command = [HERE / "litemedsam.py", weights]
    else:
        name, is_sam, _ = options.config.partition("_sam1024")
        synth = [options.medsegx, "synth", "--config", name, *(["--image-size", "1024"] if is_sam else []), "-o", weights, "--force"]
        subprocess.run(synth, check=True)
        command = [HERE / "export.py", options.config, weights]
    subprocess.run([options.python, *command, folder, "--oracle", options.oracle], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="an interpreter that has the packages of requirements.txt")
    parser.add_argument("--medsegx", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    parser.add_argument("--oracle", type=pathlib.Path, default=ROOT.parent / "shared/oracle", help="golden tensors; default: %(default)s, else those in tests/data")
    parser.add_argument("--config", default="vit_b", choices=["tiny", "vit_b", "vit_b_sam1024", "litemedsam"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15, help="turns of each engine")
    parser.add_argument("--starts", type=int, default=5, help="processes of each engine for memory and first result")
    parser.add_argument("--kept", action="store_true", help="another prompt on a kept slice, of medsegx and PyTorch")
    parser.add_argument("--only", help="names that engines must contain, separated by commas")
    parser.add_argument("--output", type=pathlib.Path, help="also write the table there")
    options = parser.parse_args()
    options.python = options.python or str(environment())
    folder = ROOT / "target/peers" / options.config
    folder.mkdir(parents=True, exist_ok=True)

    export(options, folder)
    case = json.loads((folder / "case.json").read_text())

    bf16 = "avx512_bf16" in (pathlib.Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else "")
    wanted = [(name, "f32") for name in ("medsegx", *OTHERS)]
    wanted += [("medsegx", "bf16"), ("OpenVINO", "bf16")] if bf16 else []
    if not bf16 and not options.kept:
        print("SKIPPED bf16: this processor has no AVX512-BF16", flush=True)
    if options.kept:
        # The files of the others have encoder and decoder in one piece.
        wanted = [("medsegx", "f32"), ("PyTorch eager", "f32")]
    chosen = [pair for pair in wanted if not options.only or any(part in pair[0] for part in options.only.split(","))]
    engines = [Engine(name, precision, options, folder, case) for name, precision in chosen]
    for engine in engines:
        engine.start()
    for turn in range(options.rounds + 2):
        for engine in engines:
            milliseconds = engine.turn()
            if turn >= 2:       # the first two warm up
                engine.times.append(milliseconds)
    for engine in engines:
        engine.end()
    errors = distances(options.python, folder, engines, case["step"])
    if options.kept:
        print(table_of_prompts(options, case, engines, errors))
        return
    # Not in turns: what one process gave back the next one of its kind finds again, as where a tool is called in a loop.
    for engine in engines:
        for start in range(options.starts + 1):
            engine.first_result()
            if start == 0:
                engine.starts.clear()
    text = table(options, case, engines, errors)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
