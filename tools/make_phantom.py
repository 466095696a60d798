"""Writes the sample volume of the README: a made-up CT of an abdomen, its labels and the boxes of its organs.

    python3 tools/make_phantom.py tests/data

phantom.nii.gz (int16 HU, LAS, 2 x 2 x 5 mm), phantom_labels.nii.gz (uint8), phantom_boxes.json (tight box of every organ in every slice).
Everything is computed from formulas and one seed; no scan of a person went into it.
"""
import gzip
import json
import os
import struct
import sys

import numpy as np
from scipy.ndimage import gaussian_filter

SHAPE, SPACING, SEED = (176, 144, 20), (2.0, 2.0, 5.0), 20261123
ORGANS = ("liver", "spleen", "right kidney", "left kidney", "gallbladder", "stomach", "aorta")
TASKS = ("CT_Liver", "CT_Spleen", "CT_RightKidney", "CT_LeftKidney", "CT_GallBladder", "CT_Stomach", "CT_Aorta")
MIN_PIXELS = 30


def grid():
    """x to the patient's left, y to the front and z to the head are positive, in mm from the middle"""
    return np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING)), indexing="ij")


def smooth_noise(rng, sigma_mm):
    field = gaussian_filter(rng.standard_normal(SHAPE), [sigma_mm / s for s in SPACING], mode="wrap")
    return field / field.std()


def ellipsoid(at, centre, axes, angle=0.0, power=2.0):
    """Positive inside, about the distance to the edge in mm; `angle` turns it in the slice (degrees)."""
    x, y, z = (p - c for p, c in zip(at, centre))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v, w = (c * x + s * y) / axes[0], (c * y - s * x) / axes[1], z / axes[2]
    r = (np.abs(u) ** power + np.abs(v) ** power + np.abs(w) ** power) ** (1 / power)
    return (1 - r) * min(axes)


def organs(at, rng):
    """name -> level set (positive inside), in the order they are painted"""
    wobble = [p + 3.0 * smooth_noise(rng, 18) for p in at]
    kidney = lambda side: np.minimum(ellipsoid(wobble, (side * 62, -42, -8), (23, 29, 52), -side * 25),
                                     -ellipsoid(at, (side * 40, -30, -8), (15, 10, 20), -side * 25))
    right = kidney(-1)
    liver = ellipsoid(wobble, (-72, 6, 12), (62, 66, 74), 20, 2.4)
    left_lobe = ellipsoid(wobble, (-4, 44, 24), (54, 26, 34), -12)
    liver = np.minimum(np.maximum(liver, left_lobe), -ellipsoid(at, (6, -30, 0), (56, 50, 400)))
    liver = np.minimum(liver, -ellipsoid(at, (-62, -42, -8), (31, 37, 60), 25))          # the fat around the kidney
    spleen = np.minimum(ellipsoid(wobble, (92, -24, 20), (30, 46, 44), 18), -ellipsoid(at, (66, 2, 16), (26, 34, 60)))
    stomach = np.minimum(ellipsoid(wobble, (58, 34, 22), (34, 40, 36), -30), -liver - 3)
    return {"liver": liver, "spleen": spleen, "right kidney": right, "left kidney": kidney(1),
            "gallbladder": ellipsoid(wobble, (-42, 46, -22), (15, 24, 22), 30), "stomach": stomach,
            "aorta": ellipsoid(at, (8, -34, 0), (12, 12, 4000))}


def paint(volume, level, value):
    """Replaces what is inside, with an edge one voxel wide."""
    weight = np.clip(level / SPACING[0] + 0.5, 0, 1)
    volume += weight * (value - volume)


def background(at, rng):
    """Air, skin, fat, muscle wall, ribs, spine, vessels and bowel; returns the volume and the inside of the wall."""
    x, y, z = at
    volume = np.full(SHAPE, -1000.0)
    body = ellipsoid(at, (0, 0, 0), (166, 128, 4000), 0, 2.5)
    paint(volume, body, 30)
    paint(volume, body - 3, -105 + 8 * smooth_noise(rng, 5))
    wall = ellipsoid(at, (0, 0, 0), (146, 106, 4000), 0, 2.4)
    paint(volume, wall, 55 + 6 * smooth_noise(rng, 6))
    cavity = ellipsoid(at, (0, 8, 0), (134, 88, 4000), 0, 2.3)
    paint(volume, cavity, -95 + 10 * smooth_noise(rng, 6))
    for k in range(11):                                                       # ribs: oblique, so each slice cuts them elsewhere
        angle = np.radians(-60 + 30 * k)
        rx, ry = 139 * np.sin(angle), 97 * -np.cos(angle)
        paint(volume, np.minimum(ellipsoid(at, (rx, ry, 0), (11, 6, 4000), np.degrees(angle)), 8 - np.abs((z + 20 * k) % 26 - 13)), 330)
    paint(volume, ellipsoid(at, (44, -70, 0), (34, 22, 4000), 15), 60)        # back muscles
    paint(volume, ellipsoid(at, (-44, -70, 0), (34, 22, 4000), -15), 60)
    bone = ellipsoid(at, (0, -58, 0), (24, 19, 4000))
    paint(volume, bone, 420)
    paint(volume, bone - 3, 210 + 40 * smooth_noise(rng, 3))
    paint(volume, ellipsoid(at, (0, -84, 0), (15, 14, 4000)), 380)
    paint(volume, ellipsoid(at, (0, -84, 0), (10, 9, 4000)), 25)              # spinal canal
    paint(volume, ellipsoid(at, (-16, -32, 0), (12, 10, 4000)), 120)          # vena cava
    for _ in range(26):                                                       # bowel loops
        centre = rng.uniform((-90, 10, -70), (100, 75, 5))
        loop = ellipsoid([p + 3 * smooth_noise(rng, 12) for p in at], centre, rng.uniform((12, 9, 10), (26, 15, 22)), rng.uniform(0, 180))
        paint(volume, np.minimum(loop, cavity), 60)
        paint(volume, np.minimum(loop, cavity) - 3, rng.choice((15, 35, -600), p=(0.5, 0.35, 0.15)))
    return volume, cavity


def phantom():
    """-> HU int16 and labels uint8, both indexed [x, y, z] in RAS"""
    rng = np.random.default_rng(SEED)
    at = grid()
    volume, cavity = background(at, rng)
    labels = np.zeros(SHAPE, np.uint8)
    values = {"liver": 108, "spleen": 122, "right kidney": 165, "left kidney": 165, "gallbladder": 8, "stomach": 30, "aorta": 190}
    for number, (name, level) in enumerate(organs(at, rng).items(), 1):
        level = np.minimum(level, cavity)
        paint(volume, level, values[name] + 4 * smooth_noise(rng, 5))
        labels[level > 0] = number
        if name == "liver":
            for _ in range(14):                                               # vessels of the liver, part of it
                vessel = ellipsoid(at, rng.uniform((-95, -20, -40), (-15, 40, 60)), (rng.uniform(10, 26), 3, 5), rng.uniform(0, 180))
                paint(volume, np.minimum(vessel, level - 6), 150)
        if name == "stomach":
            paint(volume, np.minimum(level - 3, at[1] - 44), -850)            # air above the fluid
    volume = gaussian_filter(volume, (0.55, 0.55, 0.3)) + gaussian_filter(rng.standard_normal(SHAPE), (0.6, 0.6, 0)) * 20
    return np.clip(np.rint(volume), -1024, 3071).astype(np.int16), labels


def write_nifti(path, array, kind):
    """NIfTI-1 with an sform; the same bytes on every run."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *SHAPE, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, kind, array.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1, *SPACING, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2                                                           # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)
    for row in range(3):
        line = [0.0] * 4
        step = -SPACING[row] if row == 0 else SPACING[row]                   # NIfTI's x grows to the right
        line[row], line[3] = step, -(SHAPE[row] - 1) / 2 * step
        struct.pack_into("<4f", header, 280 + 16 * row, *line)
    header[344:348] = b"n+1\0"
    with open(path, "wb") as f:
        f.write(gzip.compress(bytes(header) + array.tobytes(order="F"), 9, mtime=0))


def boxes(labels):
    """The boxes file: tight inclusive boxes of every organ in every slice where it has at least MIN_PIXELS pixels."""
    targets = []
    for number, (name, task) in enumerate(zip(ORGANS, TASKS), 1):
        slices = {}
        for k in range(SHAPE[2]):
            x, y = np.nonzero(labels[:, :, k] == number)
            if len(x) >= MIN_PIXELS:
                slices[str(k)] = [int(x.min()), int(y.min()), int(x.max()), int(y.max())]
        targets.append({"name": name, "task": task, "label": number, "slices": slices})
    return {"version": 1, "space": "voxel", "inclusive": True, "targets": targets}


def main(folder):
    volume, labels = phantom()
    write_nifti(os.path.join(folder, "phantom.nii.gz"), volume, 4)
    write_nifti(os.path.join(folder, "phantom_labels.nii.gz"), labels, 2)
    head = boxes(labels)
    lines = ",\n".join("    " + json.dumps(t) for t in head.pop("targets"))
    with open(os.path.join(folder, "phantom_boxes.json"), "w") as f:
        f.write(json.dumps(head)[:-1] + ', "targets": [\n' + lines + "\n] }\n")


if __name__ == "__main__":
    main(sys.argv[1])
