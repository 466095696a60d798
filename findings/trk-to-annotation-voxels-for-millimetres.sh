#!/bin/bash
# trk_to_annotation 0.0.2 (PyPI, "Utilities for converting .trk tractography files into Neuroglancer precomputed
# annotation format"; nibabel 5.4.2, numpy 2.4.6; CPython 3.11): one fibre of 60 mm, from the left to the right.
#  1. The size. The written info says of each axis that a step of 1 is 1 mm ("dimensions", by Neuroglancer's
#     specification the size of the coordinates' unit). Expected: 60 mm in every volume that the file was made in.
#     Seen: 60 in a volume of 1 mm voxels, 30 of 2 mm, 20 of 3 mm. Coordinates are voxel indices, and the unit remains.
#     In voxels of 2 x 2 x 4 mm a fibre along z is half as long as one along x that has the same length.
#  2. The colour, "orientation_color", and the direction, "Segment orientation". In tractography's usual code left to
#     right is red, front to back green, up and down blue. Expected: red. Seen: red in an axial volume; blue in a
#     sagittal one, in which the third axis runs from left to right; and half red, half green after a turn of the axes
#     by 45 degrees.
#  3. Lines by their number ("by_id", the file in which Neuroglancer looks up what is clicked at). It is laid out for
#     52 bytes a line; each has 56: a record of 44, the number of relations 4, a relation 8 though that number is 0. So
#     the place where the file says that its table is lies among the lines, and no line is found by it.
# A file transform.lta beside it holds the voxels' matrix. That could put points right in size, though colour and
# direction are written as they are, and its type, 1, says that it takes millimetres to millimetres.
# A trk file of the same fibre says 60 mm, left to right, in all of these volumes by nibabel. Nothing is said.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    trk_to_annotation==0.0.2 nibabel==5.4.2 numpy==2.4.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import json, logging, sys
from unittest.mock import MagicMock

sys.modules["cloudvolume"] = MagicMock()  # for the layer to click at, which nothing below asks for

import nibabel
import numpy as np
from trk_to_annotation.__main__ import main

logging.disable(logging.INFO)

def convert(name, axes, direction):
    """-> length in mm by the info's unit, direction and colour of a fibre of 60 mm in a volume with these axes"""
    axes = np.array(axes, float)
    affine = nibabel.affines.from_matvec(axes, axes @ [-40, -40, -40])
    points = np.linspace(-30, 30, 7)[:, None] * np.array(direction)
    path, out = f"{sys.argv[1]}/{name}.trk", f"{sys.argv[1]}/{name}"
    other = np.array([[-30, -30, -30], [0, 5, 10], [28, 30, 29]], "f4")  # so that there is a box around the two
    both = nibabel.streamlines.Tractogram([points.astype("f4"), other], affine_to_rasmm=np.eye(4))
    nibabel.streamlines.TrkFile(both, {
        "voxel_to_rasmm": affine.astype("f4"), "voxel_sizes": np.linalg.norm(axes, axis=0).astype("f4"),
        "dimensions": np.array([80, 80, 80], "i2"), "voxel_order": "".join(nibabel.aff2axcodes(affine))}).save(path)
    back = nibabel.streamlines.load(path).streamlines[0]
    assert np.allclose(back, points, atol=1e-4)

    main(path, out, f"{out}/segmentation", [1, 2])
    with open(f"{out}/info") as file:
        info = json.load(file)
    assert info["dimensions"] == {axis: [1, "mm"] for axis in "xyz"} and info["annotation_type"] == "LINE"
    kinds = {"uint32": "<u4", "float32": "<f4", "rgb": ("u1", 3)}
    record = np.dtype([("start", "<f4", 3), ("end", "<f4", 3)]
                      + [(p["id"], *np.atleast_1d(kinds[p["type"]])[:1].tolist(), *([3] if p["type"] == "rgb" else []))
                         for p in info["properties"]] + [("padding", "u1")])
    sharding = info["by_id"]["sharding"]
    assert sharding["minishard_bits"] == sharding["shard_bits"] == 0 and sharding["minishard_index_encoding"] == "raw"
    with open(f"{out}/0/0_0_0", "rb") as file:  # how many, the records, their numbers
        count = int(np.fromfile(file, "<u8", 1)[0])
        lines, numbers = np.fromfile(file, record, count), np.fromfile(file, "<u8")
    assert record.itemsize == 44 and len(numbers) == count

    with open(f"{out}/by_id/0.shard", "rb") as file:
        shard = file.read()
    first, last = np.frombuffer(shard[:16], "<u8").tolist()  # place of the minishard's index, from byte 16
    index = np.frombuffer(shard[16 + first:16 + last], "<u8").reshape(3, -1)
    many, place = index.shape[1], len(shard) - index.size * 8  # the index is the last thing in the file
    truth = np.frombuffer(shard[place:], "<u8").reshape(3, -1)
    found = np.cumsum(index[0]).tolist() == list(range(many))
    print(f"  {many} lines by number: the index is at byte {place} and said to be at {16 + first},",
          "numbers are", index[0, :3].tolist(), "...")
    assert np.cumsum(truth[0]).tolist() == list(range(many)) and set(truth[2].tolist()) == {52}
    assert place - 16 == many * 56 and first == many * 52 and not found, "another index"
    lines = lines[lines["streamline"] == 1]
    length = float(np.linalg.norm(lines["end"] - lines["start"], axis=1).sum())
    line = lines[len(lines) // 2]
    way = [round(float(line[f"orientation_{axis}"]), 3) for axis in "xyz"]
    colour = line["orientation_color"].tolist()
    print(f"{name}: a fibre of {np.linalg.norm(back[-1] - back[0]):.0f} mm along {list(direction)} is {length:.1f} mm",
          f"along {way}, colour {colour}")
    return round(length, 1), way, colour

x, z, half = (1, 0, 0), (0, 0, 1), np.sqrt(0.5)
right = convert("axial, 1 mm", np.eye(3), x)
assert right == (60, [1, 0, 0], [255, 0, 0])
assert convert("axial, 2 mm", 2 * np.eye(3), x)[0] == 30, "another size"
assert convert("axial, 3 mm", 3 * np.eye(3), x)[0] == 20, "another size"
assert convert("2 x 2 x 4 mm, along x", np.diag([2, 2, 4]), x)[0] == 30
assert convert("2 x 2 x 4 mm, along z", np.diag([2, 2, 4]), z)[0] == 15, "another size"
sagittal = convert("sagittal, 1 mm", [[0, 0, 1], [1, 0, 0], [0, 1, 0]], x)
assert sagittal == (60, [0, 0, 1], [0, 0, 255]), "another colour"
turned = convert("turned by 45 degrees, 1 mm", [[half, -half, 0], [half, half, 0], [0, 0, 1]], x)
assert np.allclose(np.abs(turned[1]), [half, half, 0], atol=1e-3) and turned[2] == [180, 180, 0], "another colour"
PY
