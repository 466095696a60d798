"""Times the network of torch_model.py in PyTorch, for the table of gpu_check: JSON on standard output.

    python3 torch_compare.py --config vit_b --batch 1,8,32,128 [--device cuda:0]

Modes: eager (plain products and softmax), sdpa (scaled_dot_product_attention), compile (sdpa with torch.compile,
max-autotune, which replays CUDA graphs). f16 on a GPU, f32 on a CPU. Weights are random: time does not depend on them.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]        # in a bundle torch_model.py lies beside this file, else in tools/

import torch
import torch.nn.functional as F

import torch_model

PLAIN = torch_model.attend


def fused(q, k, v, scale):
    """One fused kernel; it wants values as wide as keys."""
    width = v.shape[-1]
    v = F.pad(v, (0, q.shape[-1] - width))
    return F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :width]


def made_up(batch, size, device, dtype):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, 3, size, size, generator=generator).to(device, dtype)
    box = torch.tensor([[0.3, 0.3, 0.7, 0.7]]).mul(size).expand(batch, 4).to(device, dtype)
    context = torch.tensor([[2, 1, 4, 17, 59]]).expand(batch, 5).contiguous().to(device)
    return image, box, context


def milliseconds(run, device, repeats):
    """Median of single runs, after some to warm up."""
    for _ in range(3 if device.type == "cpu" else 10):
        run()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            before = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="vit_b", choices=torch_model.CONFIGS)
    parser.add_argument("--batch", default="1,8,32,128")
    parser.add_argument("--modes", default="eager,sdpa,compile")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_compare: this PyTorch sees no GPU")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    model = torch_model.Sam(torch_model.named_config(args.config)).eval()
    model = model.to(device=device, dtype=dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    rows = []
    for mode in args.modes.split(","):
        torch_model.attend = PLAIN if mode == "eager" else fused
        run = torch.compile(model, mode="max-autotune") if mode == "compile" else model
        for batch in map(int, args.batch.split(",")):
            inputs = made_up(batch, 256, device, dtype)
            row = {"mode": mode, "batch": batch}
            try:
                row["ms"] = milliseconds(lambda: run(*inputs), device, args.repeats)
                row["slices_per_second"] = 1e3 * batch / row["ms"]
            except RuntimeError as error:                # out of memory, or a compiler that this machine lacks
                row["error"] = str(error).splitlines()[0]
            rows.append(row)
            print(f"torch_compare: {args.config} {row}", file=sys.stderr, flush=True)
    print(json.dumps({"config": args.config, "torch": torch.__version__, "device": name, "dtype": str(dtype), "rows": rows}))


if __name__ == "__main__":
    main()
