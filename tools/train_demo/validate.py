"""Dice on held-out procedural pictures (another seed, other textures), tight boxes, full difficulty."""
import numpy as np
import torch

import pictures
from rules import dice, tight_box

SEED, PROMPTS = 990001, 6


def ellipse(box):
    """The ellipse inscribed in an inclusive box, the baseline that a box model has to beat."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:pictures.SIZE, :pictures.SIZE]
    return ((x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)) ** 2 <= 1


@torch.no_grad()
def outputs(model, numbers, f32=True, seed=SEED):
    """Yields (logits [K, 3, 256, 256], masks [K, 256, 256] bool, boxes [K, 4], style) a picture. The boxes are tight on the picture's own
    grid, which may be coarser than 256."""
    source = pictures.Pictures(seed, PROMPTS, tight=1.0)
    for number in numbers:
        image, masks, boxes, context, style = source.batch([number])
        with torch.autocast("cpu", torch.bfloat16, enabled=not f32):
            embedding = model.encode(torch.from_numpy(image).float(), torch.from_numpy(context))
            logits = model.decode(embedding, box=torch.from_numpy(boxes[0]))[0][:, 1:]
        yield logits.float().numpy(), masks[0] > 0, boxes[0], int(style[0])


def sums(model, numbers, f32=True):
    """count, and sums of: best of three, each mask, ellipse"""
    total = np.zeros(6)
    for logits, masks, _, _ in outputs(model, numbers, f32):
        each = dice(logits > 0, masks[:, None])
        baseline = dice(np.stack([ellipse(tight_box(m)) for m in masks]), masks)
        total += len(masks), each.max(1).sum(), *each.sum(0), baseline.sum()
    return total


def line(total):
    count, *rest = total[:6]
    best, a, b, c, ellipse_mean = (v / count for v in rest)
    return f"{count:.0f} targets, DSC best of 3 {best:.4f}, masks {a:.4f} {b:.4f} {c:.4f}, ellipse {ellipse_mean:.4f}"
