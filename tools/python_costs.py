#!/usr/bin/env python3
"""What the Python package costs, and fails where that is more than it may be: python tools/python_costs.py WHEEL

A call beside the engine: the whole call less what its report says the engine's own part took, the least of many. The
import beyond NumPy's own, in time of the processor, which a machine that does other work does not stretch; the least of
some processes. The wheel without the demo weights.
"""
import pathlib
import subprocess
import sys
import time
import zipfile

import medsegx
import numpy as np

MOST_OVERHEAD_MS, MOST_IMPORT_MS, MOST_WHEEL_MB = 1.0, 50.0, 6.0


def overhead_ms(model, tries=40):
    grid = np.linspace(-1, 1, 64)
    plane = (900 * np.exp(-6 * (grid[:, None] ** 2 + grid[None] ** 2))).astype(np.int16)
    volume = np.repeat(plane[:, :, None], 8, axis=2)
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        result = model.segment(volume, affine=np.eye(4), boxes=[9, 9, 4, 50, 50, 4], task="CT_Liver", batch=1)
        took = time.perf_counter() - start
        found.append(took - result.report["seconds"]["total"])
    return 1000 * min(found)


def import_ms(tries=7):
    script = "import time, numpy\nstart = time.process_time()\nimport medsegx\nprint(time.process_time() - start)"
    times = [float(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout) for _ in range(tries)]
    return 1000 * min(times)


def main():
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        demo = next(file for file in wheel.infolist() if file.filename.endswith("demo.safetensors"))
    size = (pathlib.Path(sys.argv[1]).stat().st_size - demo.compress_size) / 1e6
    model = medsegx.Model(device="cpu", threads=1)
    rows = [
        ("a call beside the engine's part, ms", overhead_ms(model), MOST_OVERHEAD_MS),
        ("import beyond NumPy's, ms", import_ms(), MOST_IMPORT_MS),
        ("the wheel without the demo weights, MB", size, MOST_WHEEL_MB),
    ]
    for what, found, most in rows:
        print(f"{what}: {found:.2f} (at most {most:g})")
    return int(any(found > most for _, found, most in rows))


if __name__ == "__main__":
    sys.exit(main())
