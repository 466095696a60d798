#!/usr/bin/env python3
"""Writes tests/data/resize.json: what PyTorch's antialiased bilinear interpolation makes of a formula's pixels.

Needs torch. Run again only to add cases: python3 tools/resize_constants.py
"""
import json
import pathlib

import torch
from torch.nn.functional import interpolate

# from h, w; to h, w; antialias
CASES = [
    (1, 1, 4, 3, True), (5, 7, 3, 4, True), (7, 5, 7, 5, True), (3, 4, 8, 9, True), (17, 9, 4, 20, True), (64, 48, 1, 1, True),
    (31, 33, 30, 34, True), (100, 1, 7, 3, True), (512, 400, 16, 8, True), (9, 13, 6, 5, False), (8, 8, 21, 13, False),
]


def pixels(height, width):
    """The picture that the Rust test makes too: 0..250, no two neighbours alike, not symmetric."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((37 * y + 101 * x + 13 * x * y + y * y) % 251).float()


cases = []
for h0, w0, h, w, antialias in CASES:
    out = interpolate(pixels(h0, w0)[None, None], size=(h, w), mode="bilinear", antialias=antialias, align_corners=False)
    cases.append({"from": [h0, w0], "to": [h, w], "antialias": antialias, "values": [float(f"{v:.9g}") for v in out.flatten().tolist()]})

path = pathlib.Path(__file__).parent.parent / "tests/data/resize.json"
lines = ",\n".join(json.dumps(case) for case in cases)
path.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')
