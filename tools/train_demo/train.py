"""Trains the demo weights on procedural pictures: python3 tools/train_demo/train.py DIR --minutes 120 [--resume]

Two (or more) processes hold the same parameters in shared memory; each makes its own pictures, and after every step each averages
the gradients of, and updates, its own slice. DIR gets checkpoint.pt (everything needed to resume) and log.txt; a file
named stop in it ends the run early, with a checkpoint.
"""
import argparse
import hashlib
import json
import os
import sys
import time

import numba
import numpy as np
import torch
import torch.multiprocessing as mp
from safetensors import safe_open

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import initial
import loss as objective
import pictures
import torch_model
import validate

MAX_GRADIENT_NORM = 1.0
BETA1, BETA2, EPSILON, DECAY = 0.9, 0.98, 1e-8, 0.02
WARM_UP_STEPS, FINAL_RATE = 300, 0.01
EMA_DECAY = 0.997
STATE = ("parameters", "average", "first", "second")


@numba.njit(fastmath=True, cache=True)
def adamw(p, average, m, v, gradients, start, end, rate, clip, correct1, correct2, decay, ema):
    """One step on [start, end) of the flat vectors, with the mean of the ranks' gradients, which it sets to zero."""
    ranks = gradients.shape[0]
    for i in range(start, end):
        g = np.float32(0)
        for r in range(ranks):
            g += gradients[r, i]
            gradients[r, i] = 0
        g *= clip / ranks
        m[i] += (1 - BETA1) * (g - m[i])
        v[i] += (1 - BETA2) * (g * g - v[i])
        step = m[i] * correct1 / (np.sqrt(v[i] * correct2) + EPSILON)
        p[i] -= rate * (step + decay * p[i])
        average[i] += (1 - ema) * (p[i] - average[i])


@numba.njit(fastmath=True, cache=True)
def squared_norm(gradients, start, end):
    total = 0.0
    for i in range(start, end):
        g = np.float32(0)
        for r in range(gradients.shape[0]):
            g += gradients[r, i]
        total += g * g
    return total / gradients.shape[0] ** 2


def decays(name, parameter):
    """Weight matrices shrink; norms, biases, positions and embedding tables do not."""
    return parameter.dim() > 1 and not any(k in name for k in ("embed", "token.weight", "tokens.weight", "rel_pos"))


def ordered_parameters(model):
    named = sorted(model.named_parameters(), key=lambda x: not decays(*x))
    return named, sum(p.numel() for n, p in named if decays(n, p))


@torch.no_grad()
def adopt(model, flat, gradient=None):
    """Makes the model's parameters (and gradients) views of the flat vectors."""
    at = 0
    for _, p in ordered_parameters(model)[0]:
        p.data = flat[at:at + p.numel()].view_as(p)
        if gradient is not None:
            p.grad = gradient[at:at + p.numel()].view_as(p)
        at += p.numel()


def make_model(args):
    torch.manual_seed(args.seed)
    config = torch_model.Config(args.width, args.depth, args.width // 64, tuple(range(args.depth)), args.prompt_width)
    model = torch_model.Sam(config)
    initial.initialise(model, args.seed)
    if args.positions is not None:
        model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.copy_(args.positions)
    return model


def start_from(model, path):
    """Fills the model from an exported file; returns the records of that file and of those before it, for the metadata of what comes
    out, and the file's position matrix, which is no parameter and which every rank needs."""
    with safe_open(path, "pt") as file:
        note = file.metadata()
        model.load_state_dict({k: file.get_tensor(k).float() for k in file.keys()}, strict=True)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    record = {k: note[k] for k in ("seed", "steps", "pictures", "training_minutes", "settings", "generator_versions") if k in note}
    positions = model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.clone()
    return [*json.loads(note.get("ancestors", "[]")), {"sha256": digest} | record], positions


def rate_at(step, progress, peak):
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + np.cos(np.pi * min(progress, 1.0))))


def mean_weight_at(progress):
    """Weight of the mean of the three masks: small while they find their parts, larger at the end, so that less hangs on the choice."""
    return 0.3 + 0.4 * max(0.0, 2 * progress - 1)


def save(path, shared, info):
    content = {k: shared[k] for k in STATE} | info
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


def train_rank(rank, args, shared, counters, barrier):
    """counters: step, seconds trained before this start, progress, whether to stop, partial norms and losses of the ranks."""
    torch.set_num_threads(1)
    model = make_model(args)
    adopt(model, shared["parameters"], shared["gradients"][rank])
    named, decayed = ordered_parameters(model)
    size = shared["parameters"].numel()
    start, end = rank * size // args.ranks, (rank + 1) * size // args.ranks
    flat = [shared[k].numpy() for k in STATE]
    gradients = shared["gradients"].numpy()
    source = pictures.Pictures(args.seed, args.prompts)
    per_rank = args.batch // args.ranks
    before, began, saved, step = float(counters[1]), time.time(), time.time(), int(counters[0])
    validated = before
    log = open(os.path.join(args.dir, "log.txt"), "a") if rank == 0 else None
    recent, stop = [], os.path.join(args.dir, "stop")
    while True:
        if rank == 0:
            spent = before + time.time() - began
            counters[1] = spent
            counters[2] = step / args.steps if args.steps else spent / (60 * args.minutes)
            counters[3] = os.path.exists(stop)
        barrier.wait()
        progress = float(counters[2])
        if progress >= 1 or counters[3]:
            break
        easy = max(0.0, 1 - progress / args.easy_part) if args.easy_part else 0.0
        generator = torch.Generator().manual_seed(args.seed * 1000003 + step * args.ranks + rank)
        first = step * args.batch + rank * per_rank
        image, masks, boxes, context, _ = source.batch(range(first, first + per_rank), easy)
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.f32):
            value, best = objective.loss(model, torch.from_numpy(image).float(), torch.from_numpy(context), torch.from_numpy(boxes),
                                         torch.from_numpy(masks), args.others, mean_weight_at(progress), generator)
        value.backward()
        counters[8 + rank] = best
        barrier.wait()
        counters[4 + rank] = squared_norm(gradients, start, end)
        barrier.wait()
        norm = float(counters[4:4 + args.ranks].sum()) ** 0.5
        clip = min(1.0, MAX_GRADIENT_NORM / (norm + 1e-6)) if np.isfinite(norm) else 0.0
        rate = rate_at(step, progress, args.rate)
        step += 1
        ema = min(EMA_DECAY, step / (step + 10))
        for a, b, decay in ((start, min(end, decayed), DECAY), (max(start, decayed), end, 0.0)):
            if a < b:
                adamw(*flat, gradients, a, b, rate, clip, 1 / (1 - BETA1 ** step), 1 / (1 - BETA2 ** step), decay, ema)
        if rank == 0:
            recent.append((float(counters[8:8 + args.ranks].mean()), norm))
            counters[0] = step
            if step % 100 == 0:
                means = np.mean(recent, 0)
                recent = []
                print(f"step {step} pictures {step * args.batch} minutes {(before + time.time() - began) / 60:.1f} rate {rate:.2e} "
                      f"loss {means[0]:.4f} gradient {means[1]:.2f}", file=log, flush=True)
        barrier.wait()
        if rank == 0 and time.time() - saved > 180:
            saved = time.time()
            save(os.path.join(args.dir, "checkpoint.pt"), shared, dict(step=step, seconds=before + saved - began, args=vars(args)))
        if float(counters[1]) - validated > 60 * args.validate_every:
            validated = float(counters[1])
            report(rank, args, shared, counters, barrier, log, step)
    report(rank, args, shared, counters, barrier, log, step)
    if rank == 0:
        save(os.path.join(args.dir, "checkpoint.pt"), shared, dict(step=step, seconds=float(counters[1]), args=vars(args)))


def report(rank, args, shared, counters, barrier, log, step):
    """Every rank validates its part of the held-out pictures, with the averaged weights."""
    model = make_model(args).eval()
    adopt(model, shared["average"])
    part = range(rank, args.validation, args.ranks)
    sums = validate.sums(model, part, f32=args.f32)
    counters[16 + 8 * rank:16 + 8 * rank + len(sums)] = torch.tensor(sums)
    barrier.wait()
    if rank == 0:
        total = counters[16:16 + 8 * args.ranks].view(args.ranks, 8).sum(0)
        print(f"validation step {step}: {validate.line(total.tolist())}", file=log, flush=True)
    barrier.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("--minutes", type=float, default=120, help="wall-clock length of the whole schedule, earlier starts included")
    parser.add_argument("--steps", type=int, default=0, help="length in steps instead: the same result on every run")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--from", dest="start", metavar="FILE", help="exported weights to start from, with a fresh optimiser; take another --seed")
    parser.add_argument("--finest", type=float, default=0, help="with --from: put position frequencies up to this into the file's matrix")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="pictures a step, all ranks together")
    parser.add_argument("--prompts", type=int, default=8, help="prompts a picture")
    parser.add_argument("--others", type=int, default=8, help="grid tokens outside the box that the loss samples")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--easy-part", type=float, default=0.12, help="of the schedule, over which the pictures grow to their full difficulty")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--prompt-width", type=int, default=128)
    parser.add_argument("--validation", type=int, default=96, help="held-out pictures")
    parser.add_argument("--validate-every", type=float, default=8, help="minutes")
    parser.add_argument("--f32", action="store_true", help="no bfloat16 autocast")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    if os.path.exists(os.path.join(args.dir, "stop")):
        parser.error(f"{args.dir}/stop asks every run to end; remove it first")
    args.history, args.ancestors, args.positions = [], [], None
    model = make_model(args)
    if args.start:
        args.ancestors, args.positions = start_from(model, args.start)
        if args.finest:
            args.positions = initial.finer(args.positions, args.finest)
    named, _ = ordered_parameters(model)
    flat = torch.cat([p.detach().flatten() for _, p in named])
    shared = {"parameters": flat, "average": flat.clone(), "first": torch.zeros_like(flat), "second": torch.zeros_like(flat),
              "gradients": torch.zeros(args.ranks, len(flat))}
    counters = torch.zeros(16 + 8 * args.ranks, dtype=torch.float64)
    if args.resume:
        old = torch.load(os.path.join(args.dir, "checkpoint.pt"), weights_only=False)
        for k in STATE:
            shared[k].copy_(old[k])
        counters[0], counters[1] = old["step"], old["seconds"]
        args.history, args.ancestors, args.positions = (old["args"][k] for k in ("history", "ancestors", "positions"))
    args.history.append({"from_step": int(counters[0]), "generator": pictures.VERSION, "batch": args.batch, "prompts": args.prompts})
    for t in (*shared.values(), counters):
        t.share_memory_()
    print(f"{len(flat)} parameters", flush=True)
    context = mp.get_context("spawn")
    barrier = context.Barrier(args.ranks)
    mp.spawn(train_rank, (args, shared, counters, barrier), nprocs=args.ranks)


if __name__ == "__main__":
    main()
