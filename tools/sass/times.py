#!/usr/bin/env python3
"""The paper times of a run by what ptxas made of its kernels, and those of older kernels beside them. No GPU is asked.

    tools/sass/times.py --medsegx target/release/medsegx                     vit_b on an H100, batch 1 and 64
    tools/sass/times.py --medsegx target/release/medsegx --card a100 --rows  every step

`bench floors` says what each step launches, its FLOP and its bytes; table.tsv and the older before.tsv say what a warp
does for it. A scheduler of a multiprocessor has R of a launch's warps at once, as many as registers, threads, shared
memory and the launch's blocks allow. A turn of a main loop with `mma.sync` then takes the longest of

    stall_tensor     the tensor cores take one warp's mma.sync after the other's: 8, 6, 8 cycles each on sm_80, 90, 100
    loop             an instruction a cycle
    stall / R        a warp's own schedule, behind which the R - 1 others hide

and so do the instructions outside of it, without the first. Kernels whose main loop has no `mma.sync` are charged the
warp instructions that kernels/README.md counts, at the mean stall of their code. Nothing here knows of waiting for memory
beyond its bandwidth.

The code outside of a loop is charged once as it stands, whether a launch runs all of it or not: copies that unrolling made
of what seldom runs count, too, and cutting them looks better than it is. `loops alone` leaves that code out of both sides.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The architecture of the table whose code a card runs, or the nearest to it.
ARCHITECTURE = {"a100": "80", "h100": "90", "h200": "90", "rtx4090": "80", "rtx5090": "120"}
FLOP_PER_MMA = 2 * 16 * 8 * 16
SCHEDULERS = 4
# The operations that a decoder's graph begins with.
DECODER = ("decoder_input", "mask_embed", "image_source", "prompt_tokens")


def table(path):
    """Rows of a table by kernel and architecture."""
    header, *lines = [line.split("\t") for line in path.read_text().splitlines()]
    return {(line[0], line[1]): dict(zip(header, line[:1] + [float(cell) for cell in line[1:]])) for line in lines}


def counts():
    """Warp instructions of each kernel: for a `mma`, where it has some, and for a block."""
    text = (HERE.parents[1] / "kernels/README.md").read_text().split("<!-- costs -->")[1].split("<!-- end of costs -->")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    number = lambda cell: float(cell) if re.fullmatch(r"[0-9.]+", cell) else None
    return {row[1]: (number(row[3]), number(row[4])) for row in rows if number(row[4]) is not None}


def threads(medsegx):
    """Threads of a block of each kernel."""
    text = subprocess.run([medsegx, "kernels"], check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}


def cycles(code, warps, step, card, counted, whole):
    """Cycles of a scheduler for all of one kernel's blocks; `whole` with the code outside of its main loop."""
    blocks, all_sms = max(step["blocks"], 1), card["multiprocessors"]
    per_sm = math.ceil(blocks / all_sms)
    resident = min(code["blocks_registers"], code["blocks_threads"], code["blocks_shared"], per_sm)
    r = max(resident * warps / SCHEDULERS, 1)
    # Warps that a scheduler of the busiest multiprocessor runs in all.
    share = per_sm * warps / SCHEDULERS
    if code["tensor"]:
        turns = step["flop"] / FLOP_PER_MMA / code["tensor"] / (blocks * warps)
        turn = max(code["stall_tensor"], code["loop"], code["stall"] / r)
        outside = max(code["instructions"] - code["loop"], (code["stall_whole"] - code["stall"]) / r)
        return share * (turns * turn + (outside if whole else 0))
    per_mma, per_block = counted[code["kernel"]]
    issued = (per_mma * step["flop"] / FLOP_PER_MMA / blocks if per_mma else per_block) / warps
    return share * issued * max(1, code["stall_whole"] / code["instructions"] / r)


def time(step, card, codes, sizes, counted, whole):
    """Microseconds of a step: of its bytes, or of its cycles where they take longer."""
    arch = ARCHITECTURE[card["name"]]
    found = [(codes[(name, arch)], sizes[name] / 32) for name in step["kernels"]]
    on_cores = sum(cycles(code, warps, step, card, counted, whole) for code, warps in found) / (card["ghz"] * 1e3)
    return max(step["bytes_us"], on_cores)


def in_decoder(steps):
    """Of each step, whether it comes behind the encoder: all from the decoder's input on."""
    first = next(i for i, step in enumerate(steps) if step["op"].startswith(DECODER))
    return [i >= first for i in range(len(steps))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", required=True, help="the binary whose launches are asked for")
    parser.add_argument("--config", default="vit_b")
    parser.add_argument("--card", default="h100", choices=ARCHITECTURE)
    parser.add_argument("--batch", default="1,64")
    parser.add_argument("--new", type=pathlib.Path, default=HERE / "table.tsv")
    parser.add_argument("--old", type=pathlib.Path, default=HERE / "before.tsv")
    parser.add_argument("--rows", action="store_true", help="every step")
    options = parser.parse_args()
    command = [options.medsegx, "bench", "floors", "--json", "--config", options.config, "--card", options.card, "--batch", options.batch]
    reports = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    sizes, counted, new, old = threads(options.medsegx), counts(), table(options.new), table(options.old)
    for report in reports:
        steps = report["rows"]
        behind = in_decoder(steps)
        for whole, what in ((True, "whole code"), (False, "loops alone")):
            pairs = [[step["count"] * time(step, report["card"], codes, sizes, counted, whole) for codes in (new, old)] for step in steps]
            for step, (now, was) in zip(steps, pairs):
                if options.rows:
                    print(f"{step['op']:20} {step['shapes']:44} {now:9.2f} us, of the older kernels {was:9.2f}: {now / was:.3f}")
            for part in ("run", "decoder"):
                now, was = (sum(pair[i] for pair, late in zip(pairs, behind) if late or part == "run") for i in (0, 1))
                print(f"{report['config']} batch {report['batch']:3} on {options.card}, {what:11} {part:7} {now:8.1f} us, "
                      f"of the older kernels {was:8.1f}: {now / was:.3f}")


if __name__ == "__main__":
    sys.exit(main())
