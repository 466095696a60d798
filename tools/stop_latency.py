"""How late Ctrl-C is seen, at every size of model.

    python3 tools/stop_latency.py MEDSEGX [--configs vit_b:256 vit_b:1024 vit_l:1024 vit_h:1024] [--signals 12]

Makes synthetic weights, segments one picture with them, and sends SIGINT when the process has used a given share of the
processor time of a whole run. Told are the milliseconds of processor time from the signal to the process's end, its
clean-up included, for each thread: what it would be by the clock were nothing else running; and by the clock. Fails where
the median of the first is above 50 ms, or a stopped run leaves a file or ends otherwise than stopped.
"""
import argparse
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

LIMIT_MS = 50


def used(pid):
    """Seconds of processor time of a process so far"""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def write_picture(path, side, seed):
    """A grey .npy of side x side"""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({side}, {side}), }}".ljust(117) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + random.Random(seed).randbytes(side * side))


def run(command, at=None):
    """Runs it, with SIGINT once it has used `at` seconds -> exit code, seconds used, and from the signal on: used, by the clock"""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = begun = None
    # Asked without reaping it, for what it used.
    ended = lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    while at is not None and not ended():
        try:
            before = used(process.pid)
        except OSError:
            break
        if before >= at:
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.001)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    total = usage.ru_utime + usage.ru_stime
    return process.returncode, total, *((total - before, time.monotonic() - begun) if begun else (None, None))


def measure(args, folder, config, side):
    weights, picture, mask = (os.path.join(folder, name) for name in ("weights.safetensors", "picture.npy", "mask.npy"))
    synth = [args.medsegx, "synth", "--config", config, "--image-size", str(side), "--dtype", "f16", "-o", weights, "--force"]
    subprocess.run(synth, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    write_picture(picture, side, 1)
    what = ["--task", "CT_Liver"] if side == 256 else []
    command = [args.medsegx, "segment", picture, "--weights", weights, "--box", f"20,20,{side // 2},{side // 2}", "-o", mask,
               "--device", "cpu", "--threads", str(args.threads), "-q", *what]
    code, whole, _, _ = run(command)
    if code != 0:
        sys.exit(f"{' '.join(command)}: exit code {code}")
    os.remove(mask)
    late, failed = [], False
    for i in range(args.signals):
        code, _, cpu, clock = run(command, whole * (args.first + (0.97 - args.first) * i / max(args.signals - 1, 1)))
        if cpu is None or code == 0:
            os.remove(mask)     # it ended first
            continue
        # Before the program listens, the system ends it.
        failed |= code not in (130, -signal.SIGINT) or os.path.exists(mask)
        late.append((cpu / args.threads * 1e3, clock * 1e3))
    if not late:
        sys.exit(f"{config}, {side} px: every run ended before its signal")
    cpu, clock = zip(*late)
    figures = (statistics.median(cpu), max(cpu), statistics.median(clock), max(clock))
    print(f"| {config}, {side} px | {whole:.1f} | {len(late)} | " + " | ".join(f"{ms:.0f}" for ms in figures) + " |", flush=True)
    if failed:
        print(f"{config}, {side} px: a stopped run left a file, or ended otherwise than stopped")
    os.remove(weights)
    return failed or statistics.median(cpu) > LIMIT_MS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("medsegx")
    parser.add_argument("--configs", nargs="+", default=["vit_b:256", "vit_b:1024", "vit_l:1024", "vit_h:1024"])
    parser.add_argument("--signals", type=int, default=12)
    parser.add_argument("--first", type=float, default=0.3, help="share of the run at the first signal")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch")
    args = parser.parse_args()
    print("| model | a whole run, s of processor time | signals | median ms | most | by the clock, median ms | most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        failed = [measure(args, folder, config, int(side)) for config, side in (c.split(":") for c in args.configs)]
    sys.exit(any(failed))


if __name__ == "__main__":
    main()
