#!/usr/bin/env python3
"""What ptxas makes of every kernel, read from its machine code: no GPU is needed or asked.

For each kernel and architecture: registers, blocks an SM by registers, by threads and by shared memory, instructions
of the main loop by pipe, the loop's stall sum (cycles that one warp needs for a turn, if it never waits for data),
that of the tensor instructions alone, barriers, and copies of the loop's body; and the warp instructions that
kernels/README.md counts for a `mma` and for a block, so that a model of time needs no other file.

    tools/sass/sass.py --medsegx target/release/medsegx --check    compares with kernels/machine_code.tsv; 1 where it differs
    tools/sass/sass.py --medsegx target/release/medsegx --write    writes it
    tools/sass/sass.py --medsegx NEW --against OLD                 ratio of stall sums, kernel by kernel

OLD is a binary or a table that --write made of one.

ptxas and nvdisasm come from the PyPI packages named in PACKAGES, by hash, into --tools; neither is part of the project.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

# Package, and the hash of the one program that is taken from it.
PACKAGES = {
    "ptxas": ("nvidia-cuda-nvcc==13.0.88", "daba837a68265cae38c832d13399b61dab811891de9b8914defddef143b849f2"),
    "nvdisasm": ("nvidia-cuda-nvdisasm==13.5.37", "3bf19e7ab706ed8f68ecc2403d277b97dc110c52e0ac4c4f0c8eada5f7889c3c"),
}
# Registers of an SM, threads, bytes of shared memory; a block's shared memory costs 1 KiB more (CUDA C++ Programming
# Guide, compute capabilities).
ARCHITECTURES = {
    "80": (65536, 2048, 164 << 10),
    "90": (65536, 2048, 228 << 10),
    "100": (65536, 2048, 228 << 10),
    "103": (65536, 2048, 228 << 10),
    "110": (65536, 1536, 228 << 10),
    "120": (65536, 1536, 100 << 10),
}
PIPES = {
    "tensor": ("HMMA", "HGMMA", "IMMA", "QMMA"),
    "special": ("MUFU",),
    "float": ("FADD", "FMUL", "FFMA", "FSETP", "FSEL", "FMNMX", "FMNMX3", "HADD2", "HMUL2", "HFMA2", "F2F", "F2FP", "F2I",
              "I2F"),
    "shared": ("LDS", "LDSM", "STS", "LDGSTS"),
    "global": ("LDG", "STG", "RED", "REDG", "ATOM", "ATOMG"),
    "barrier": ("BAR", "DEPBAR", "LDGDEPBAR", "WARPSYNC", "WARPGROUP"),
    "branch": ("BRA", "BSSY", "BSYNC", "EXIT"),
}
PIPE_NAMES = [*PIPES, "integer"]
COLUMNS = ["kernel", "sm", "threads", "registers", "blocks_registers", "blocks_threads", "blocks_shared", "instructions", "barriers",
           "loop", *PIPE_NAMES, "products", "wavefronts", "stall", "stall_tensor", "stall_whole", "copies", "per_mma", "per_block"]
README = pathlib.Path(__file__).resolve().parents[2] / "kernels/README.md"
LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);?\s+/\* 0x[0-9a-f]{16} \*/$")
SECOND = re.compile(r"^\s+/\* 0x([0-9a-f]{16}) \*/$")


def program(name, folder):
    """Path of one program, fetched once and checked by its hash."""
    package, expected = PACKAGES[name]
    path = folder / "nvidia/cu13/bin" / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--dest", folder, package], check=True)
        wheel = next(folder.glob(package.split("==")[0].replace("-", "_") + "-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"nvidia/cu13/bin/{name}", folder)
        wheel.unlink()
        path.chmod(0o755)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        sys.exit(f"{path}: expected sha256 {expected}, found {found}")
    return path


def pipe(opcode):
    """The pipe that an opcode goes to; what is in no list is integer arithmetic, moves and addresses."""
    stem = opcode.split(".")[0]
    return next((name for name, stems in PIPES.items() if stem in stems), "integer")


def instructions(listing):
    """(offset, opcode, target label or None, stall cycles) of each instruction, and the offset of each label."""
    found, labels, waiting = [], {}, []
    pending = None
    for line in listing.splitlines():
        label = re.match(r"^(\.L_x_\d+):", line)
        if label:
            waiting.append(label[1])
        elif pending is None:
            match = LINE.match(line)
            if match:
                words = [word for word in match[2].split() if not word.startswith("@")]
                target = re.search(r"`\((\.L_x_\d+)\)", match[2])
                pending = (int(match[1], 16), words[0], target and target[1])
                labels.update({name: pending[0] for name in waiting})
                waiting = []
        else:
            # Volta and later: 16 bytes an instruction, whose bits 105 to 108 are the cycles until the warp's next one.
            high = int(SECOND.match(line)[1], 16)
            found.append((*pending, (high >> 41) & 15))
            pending = None
    return found, labels


def main_loop(code, labels):
    """First and last offset of the loop that counts: the innermost one with the largest stall sum, of those with tensor
    instructions where there are any; None without one."""
    # A ring that is filled first jumps back to the head of its loop twice: of jumps to one head the longest is the loop.
    heads = {}
    for offset, opcode, target, _ in code:
        if opcode.startswith("BRA") and target and labels[target] < offset:
            heads[labels[target]] = max(offset, heads.get(labels[target], 0))
    loops = list(heads.items())
    inner = [one for one in loops if not any(other != one and one[0] <= other[0] and other[1] <= one[1] for other in loops)]
    cost = {}
    for one in inner:
        body = [(opcode, stall) for offset, opcode, _, stall in code if one[0] <= offset <= one[1]]
        cost[one] = (any(pipe(opcode) == "tensor" for opcode, _ in body), sum(stall for _, stall in body))
    return max(inner, key=cost.get, default=None)


def copies(code, text):
    """Copies of the author's code that ptxas made by unrolling: of its mma, or of its barriers where it has none."""
    for written, made in (("mma.sync", "HMMA"), ("wgmma.mma_async", "HGMMA"), ("bar.sync", "BAR")):
        count = len(re.findall(rf"^\s*(?:@!?%\w+ )?{re.escape(written)}", text, re.MULTILINE))
        if count:
            return f"{sum(opcode.split('.')[0] == made for _, opcode, _, _ in code) / count:.2f}"
    return "1.00"


def products(body):
    """Products of 16 x 8 x 16 that a tensor instruction of the loop is for one warp: of `HGMMA.64xNx16`, N / 8."""
    shapes = {re.match(r"HGMMA\.64x(\d+)x16\.", opcode) for _, opcode, _, _ in body if pipe(opcode) == "tensor"}
    return max((int(shape[1]) // 8 if shape else 1 for shape in shapes), default=1)


def wavefronts(body):
    """Passes over shared memory, 128 bytes each, of a warp in a turn of the loop, without conflicts. A warp's part of what
    `HGMMA.64xNx16` reads is its own 16 rows of 32 bytes and a fourth of the N others."""
    total = 0
    for _, opcode, _, _ in body:
        if shape := re.match(r"HGMMA\.64x(\d+)x16\.", opcode):
            total += 4 + int(shape[1]) // 16
        elif opcode.startswith("LDSM"):
            total += int(re.search(r"\.M?T?88(?:\.(\d))?$", opcode)[1] or 1)
        elif opcode.split(".")[0] in PIPES["shared"]:
            total += 4 if ".128" in opcode else 2 if ".64" in opcode else 1
    return total


def counts(readme):
    """Warp instructions that ptxvm counted of each kernel: for a `mma`, and for a block; "-" where there are none."""
    text = readme.read_text().split("<!-- costs -->")[1].split("<!-- end of costs -->")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    return {row[1]: (row[3], row[4]) for row in rows if row[4].isdigit()}


def read(kernel, architecture, tools, ptx, threads, shared, counted):
    """A row of the table."""
    registers_sm, threads_sm, shared_sm = ARCHITECTURES[architecture]
    target = target_of(ptx)
    with tempfile.TemporaryDirectory() as folder:
        cubin = os.path.join(folder, "kernel.cubin")
        said = subprocess.run([tools["ptxas"], "-v", f"-arch={'sm_' + architecture if target == 'sm_80' else target}", ptx, "-o", cubin], check=True,
                              capture_output=True, text=True).stderr
        listing = subprocess.run([tools["nvdisasm"], "-hex", cubin], check=True, capture_output=True, text=True).stdout
    registers = int(re.search(r"Used (\d+) registers", said)[1])
    static = re.search(r"(\d+) bytes smem", said)
    shared += int(static[1]) if static else 0
    code, labels = instructions(listing)
    # NOPs pad the code to its alignment, and hold cycles that a stall field of four bits cannot: their stalls count.
    loop = main_loop(code, labels)
    body = [one for one in code if loop and loop[0] <= one[0] <= loop[1]]
    pipes = {name: 0 for name in PIPE_NAMES}
    for _, opcode, _, _ in body:
        if opcode != "NOP":
            pipes[pipe(opcode)] += 1
    warp_registers = (registers * 32 + 255) // 256 * 256
    row = {
        "kernel": kernel, "sm": architecture, "threads": threads, "registers": registers,
        "blocks_registers": registers_sm // (warp_registers * threads // 32), "blocks_threads": threads_sm // threads,
        "blocks_shared": shared_sm // (shared + 1024) if shared else threads_sm // 32,
        "instructions": sum(opcode != "NOP" for _, opcode, _, _ in code),
        "barriers": sum(opcode.startswith("BAR") for _, opcode, _, _ in code),
        "loop": sum(opcode != "NOP" for _, opcode, _, _ in body), **pipes, "products": products(body), "wavefronts": wavefronts(body), "stall": sum(one[3] for one in body),
        "stall_tensor": sum(one[3] for one in body if pipe(one[1]) == "tensor"),
        "stall_whole": sum(one[3] for one in code), "copies": copies(code, pathlib.Path(ptx).read_text()),
        "per_mma": counted[0], "per_block": counted[1],
    }
    return [str(row[column]) for column in COLUMNS]


def target_of(ptx):
    """`.target` of a text: sm_80, which goes to every architecture, or one with an `a`, which goes to its own alone."""
    return re.search(r"^\.target (\w+)", pathlib.Path(ptx).read_text(), re.MULTILINE)[1]


def table(medsegx, tools, texts=None, readme=README, architectures=tuple(ARCHITECTURES)):
    """Rows of all kernels of one build; of `texts` instead of its own, where that is the folder of a dump."""
    counted = counts(readme)
    text = subprocess.run([medsegx, "kernels"], check=True, capture_output=True, text=True).stdout
    sizes = {}
    for line in text.splitlines()[1:]:
        name, threads, _, shared, *_ = line.split()
        sizes[name] = (int(threads), int(shared))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([medsegx, "kernels", "--dump", folder], check=True, capture_output=True)
        from_here = texts or folder
        jobs = [(name, sm, tools, os.path.join(from_here, f"{name}.ptx"), *sizes[name], counted.get(name, ("-", "-")))
                for name in sizes for sm in architectures
                if target_of(os.path.join(from_here, f"{name}.ptx")) in ("sm_80", f"sm_{sm}a")]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda job: read(*job), jobs))


def committed(path):
    """Rows of a table that was written before."""
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def compare(rows, path):
    """Prints each row of the committed table that is not what was found; says whether there were any."""
    found, expected = ({tuple(row[:2]): row for row in rows} for rows in (rows, committed(path)))
    stale = 0
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            stale += 1
            print(f"{key[0]} on sm_{key[1]}: expected {expected.get(key)}, found {found.get(key)}")
    if stale:
        print(f"{path}: {stale} rows are stale; look at them, then run with --write")
    return stale > 0


def ratios(new, old):
    """Stall sums of two builds beside each other."""
    before = {tuple(row[:2]): dict(zip(COLUMNS, row)) for row in old}
    print(f"{'kernel':32} {'sm':>4} {'registers':>12} {'loop':>12} {'stall':>7} {'whole':>7}")
    for row in new:
        now, was = dict(zip(COLUMNS, row)), before.get(tuple(row[:2]))
        if was is None or now == was:
            continue
        share = lambda column: int(now[column]) / max(int(was[column]), 1)
        print(f"{now['kernel']:32} {now['sm']:>4} {was['registers']:>5} > {now['registers']:>4} {was['loop']:>5} > {now['loop']:>4}"
              f" {share('stall'):7.3f} {share('stall_whole'):7.3f}")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--medsegx", required=True, help="the binary whose kernels are read")
    parser.add_argument("--texts", type=pathlib.Path, help="folder with `medsegx kernels --dump` of other kernels, to be read instead")
    parser.add_argument("--against", type=pathlib.Path, help="an older binary or its table: prints ratios instead")
    parser.add_argument("--table", type=pathlib.Path, default=here.parents[1] / "kernels/machine_code.tsv", help="the table to compare with or to write")
    parser.add_argument("--readme", type=pathlib.Path, default=README, help="kernels/README.md of the kernels that are read")
    parser.add_argument("--sm", default=",".join(ARCHITECTURES), help="architectures, where not all are wanted")
    parser.add_argument("--tools", type=pathlib.Path, default=here.parents[1] / "target/ci-sass", help="folder of ptxas and nvdisasm")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the table; so without any of these")
    what.add_argument("--write", action="store_true", help="write the table")
    what.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    tools = {name: program(name, options.tools) for name in PACKAGES}
    rows = table(options.medsegx, tools, options.texts, options.readme, options.sm.split(","))
    if options.against:
        return ratios(rows, committed(options.against) if options.against.suffix == ".tsv" else table(options.against, tools))
    if options.json:
        return print(json.dumps([dict(zip(COLUMNS, row)) for row in rows], indent=1))
    if options.write:
        return options.table.write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n") and None
    return int(compare(rows, options.table))


if __name__ == "__main__":
    sys.exit(main())
