#!/usr/bin/env python3
"""A step of tuning in medsegx beside the same step in PyTorch: same network, weights, pictures, label and threads, in turns.

    python3 tools/peers/tune.py                          # makes an environment below target/ from requirements.txt
    python3 tools/peers/tune.py --python /path/python3   # uses one that has the packages

Prints a Markdown table: medians of a step, their ratio, and the memory that a process took above the loaded model for its
steps, optimiser included: of PyTorch the peak, of medsegx what is resident after its steps, since it gives nothing back
in between. Refuses where the losses before the first step differ. Linux; build medsegx first (cargo build --release).
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from run import HERE, ROOT, environment, processor

LOSSES_AGREE = 1e-5     # relative; float32 sums in another order
SIDE = 256
CONTEXT = [2, 1, 4, 17, 59]     # as `bench tune` has it
MASK = "mask_decoder."
ENCODER = ("adapter_", "modal_embed", "organ_embed")


def status(key):
    """Bytes of this process, by its line in /proc."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def loss_of(logits, label):
    """Mean over the slices of the least of three masks' Dice and cross entropy and half of their mean; logits
    [B, 3, S, S], label [S, S]"""
    import torch.nn.functional as F

    sums = lambda values: values.flatten(2).sum(-1)
    p = logits.sigmoid()
    dice = 1 - (2 * sums(p * label) + 1e-5) / (label.sum() + sums(p * p) + 1e-5)
    entropy = (F.softplus(logits) - logits * label).flatten(2).mean(-1)
    return ((dice + entropy).min(1).values + 0.5 * (dice + entropy).mean(1)).mean()


def peer(folder, train, batch, threads):
    """PyTorch in a process of its own: says its first loss, then answers each line with the milliseconds of one step and
    the bytes that steps took at most above the loaded model."""
    import numpy as np
    import safetensors.torch
    import torch

    sys.path.insert(0, str(HERE.parent))
    import torch_model
    from export import made_up_picture

    torch.set_num_threads(threads)
    model = torch_model.load(safetensors.torch.load_file(folder / "weights.safetensors"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(MASK) or train == "all" and any(part in name for part in ENCODER))
    pictures = np.stack([made_up_picture(slot % 3) for slot in range(batch)]).transpose(0, 3, 1, 2)
    image = torch.from_numpy(pictures.astype(np.float32))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    label = torch.from_numpy((x * x + y * y < 2500).astype(np.float32))
    inside = label.nonzero()
    box = torch.cat([inside.min(0).values.flip(0), inside.max(0).values.flip(0)]).float().repeat(batch, 1)
    context = torch.tensor([CONTEXT] * batch)
    with torch.no_grad():
        embedding = model.encode(image, context) if train == "decoder" else None

    pathlib.Path("/proc/self/clear_refs").write_text("5")       # the peak begins anew
    before = status("VmRSS")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.01)

    def step():
        optimizer.zero_grad(set_to_none=True)
        encoded = model.encode(image, context) if embedding is None else embedding
        loss = loss_of(model.decode(encoded, box=box)[0][:, 1:], label)
        loss.backward()
        optimizer.step()
        return loss.item()

    print(step(), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(1e3 * (time.perf_counter() - start), status("VmHWM") - before, flush=True)


def medsegx(options, train, batch):
    """Rows of `bench tune`, by blocks that are kept or computed anew: each of a process of its own, as a process asks for no
    memory that its last row has left."""
    command = [options.medsegx, "bench", "tune", "--json", "--config", options.config, "--threads", options.threads]
    command += ["--train", train, "--batch", batch, "--repeats", options.steps, "--progress", "none"]
    rows = []
    for memory in ("1024G", "0M") if train == "all" else ("1024G",):
        words = [str(word) for word in (*command, "--memory", memory)]
        found = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        rows += json.loads(found.stdout)["rows"]
    return rows


def compare(options, folder, train, batch):
    """Table rows of one way to train."""
    command = [options.python, HERE / "tune.py", "--peer", folder, train, batch, options.threads]
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first_loss = float(process.stdout.readline())
    times, peak, ours = [], 0, {}
    for _ in range(options.rounds):
        for _ in range(options.steps):
            process.stdin.write("\n")
            process.stdin.flush()
            milliseconds, bytes_above = process.stdout.readline().split()
            times.append(float(milliseconds))
            peak = max(peak, int(bytes_above))
        for row in medsegx(options, train, batch):
            apart = abs(row["first_loss"] - first_loss) / first_loss
            if apart > LOSSES_AGREE:
                sys.exit(f"{train}, batch {batch}: loss {row['first_loss']} of medsegx, {first_loss} of PyTorch")
            ours.setdefault(row["kept_blocks"], []).append(row)
    process.communicate()
    theirs = statistics.median(times)
    lines = []
    for kept, rows in ours.items():
        step = statistics.median(row["step_ms"] for row in rows)
        forwards = statistics.median(row["step_by_forward"] for row in rows)
        memory = statistics.median(row["resident_bytes"] for row in rows)
        lines.append(
            f"| {train} | {batch} | {kept}/{rows[0]['blocks']} | {step:.0f} | {forwards:.2f} | {theirs:.0f} | {step / theirs:.2f} "
            f"| {memory / 1e6:.0f} | {peak / 1e6:.0f} | {memory / peak:.2f} |"
        )
    return lines


def main():
    if sys.argv[1:2] == ["--peer"]:
        folder, train, batch, threads = sys.argv[2:]
        return peer(pathlib.Path(folder), train, int(batch), int(threads))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="an interpreter that has the packages of requirements.txt")
    parser.add_argument("--medsegx", type=pathlib.Path, default=ROOT / "target/release/medsegx")
    parser.add_argument("--config", default="vit_b", choices=["tiny", "vit_b"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes of medsegx, between PyTorch's steps")
    parser.add_argument("--steps", type=int, default=3, help="steps of each in a round")
    options = parser.parse_args()
    options.python = options.python or str(environment())
    folder = ROOT / "target/peers" / f"tune-{options.config}"
    folder.mkdir(parents=True, exist_ok=True)
    synth = [options.medsegx, "synth", "--config", options.config, "-o", folder / "weights.safetensors", "--force"]
    subprocess.run(synth, check=True, stderr=subprocess.DEVNULL)
    print(f"{options.config}, {options.threads} threads of {processor()}, medians of {options.rounds * options.steps} steps\n")
    print("| trained | batch | blocks kept | medsegx, ms | of its forward pass | PyTorch, ms | ratio | medsegx, MB | PyTorch, MB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for train in ("decoder", "all"):
        for batch in (1, 4):
            print("\n".join(compare(options, folder, train, batch)), flush=True)


if __name__ == "__main__":
    main()
