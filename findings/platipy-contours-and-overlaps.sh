#!/bin/bash
# platipy 0.7.2 (PyPI, auto-contouring for radiotherapy; SimpleITK 2.5.7, scipy 1.17.1, numpy 2.2.6; CPython 3.11):
# the comparison of two contours, and structures that overlap.
#  1. compute_surface_metrics() of a box against the same box with a thread of 13 voxels on it, so that the surfaces are
#     the same but for a few points in 7788. hausdorffDistance95, by its name the 95th percentile of the distances
#     between the surfaces, must be 0. Seen: 12.35. It is the 95th percentile of two numbers, the maximum in each
#     direction, so the Hausdorff distance or a little less. The outlier that it should leave out decides it.
#  2. sigmaSurfaceDistance of the same. Expected the standard deviation, 0.32. Seen: 28.6, more than twice the largest
#     distance. The sum of squares is not divided by the number of points, so it grows with the size of the organ.
#  3. correct_volume_overlap() of twelve structures in a row, each overlapping the next. Expected: every voxel is left
#     to one of the structures that it was in. Seen: 240 of 4880 voxels are left to none, and one structure gets 240
#     where it never was. Membership is kept as a product of primes, one a structure, and this is cast to 8 bits on the
#     way: 17 x 19 is 323, and becomes 67. With eight structures in the row all is right.
#  4. binary_encode_structure_list(), "A maximum of 32 structures can be encoded". Seen: the 32nd is gone, as the first
#     takes the second bit. binary_decode_image() leaves out an empty one, and those behind it change their number.
# So a table of its HD95 looks worse than any other's, and merged contours have holes. Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    platipy==0.7.2 simpleitk==2.5.7 numpy==2.2.6 scipy==1.17.1
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import sys
from unittest.mock import MagicMock

# For pictures and for atlases, which are not used here.
sys.modules.update((name, MagicMock()) for name in (
    "platipy.imaging.visualisation.visualiser", "platipy.imaging.label.fusion", "matplotlib", "matplotlib.pyplot"))

import numpy as np
import SimpleITK as sitk
from platipy.imaging.label.comparison import compute_surface_metrics
from platipy.imaging.label.utils import binary_decode_image, binary_encode_structure_list, correct_volume_overlap
from scipy.ndimage import binary_erosion, distance_transform_edt

box = np.zeros((40, 60, 60), np.uint8)
box[10:30, 15:45, 15:45] = 1
thread = box.copy()
thread[20, 30, 45:58] = 1
surfaces = [mask.astype(bool) & ~binary_erosion(mask) for mask in (box, thread)]
distances = np.concatenate([distance_transform_edt(~surfaces[1 - i])[surfaces[i]] for i in range(2)])
seen = compute_surface_metrics(sitk.GetImageFromArray(box), sitk.GetImageFromArray(thread))
for name, want in (("hausdorffDistance", distances.max()), ("hausdorffDistance95", np.percentile(distances, 95)),
                   ("meanSurfaceDistance", distances.mean()), ("sigmaSurfaceDistance", distances.std())):
    print(f"{name} should be about {want:.3f}, is {seen[name]:.3f}")
assert seen["hausdorffDistance"] == distances.max() == 13 and abs(seen["meanSurfaceDistance"] - distances.mean()) < 1e-3
assert np.percentile(distances, 95) == 0 and abs(seen["hausdorffDistance95"] - 0.95 * 13) < 1e-9, "HD95 changed"
assert abs(distances.std() - 0.324) < 1e-3 and abs(seen["sigmaSurfaceDistance"] - 28.603) < 1e-3, "sigma changed"

def overlap(count):
    """-> voxels in any structure, how many of them are in none afterwards, and how many a structure has too many"""
    before = {}
    for i in range(count):
        mask = np.zeros((4, 10, 200), np.uint8)
        mask[:, :, 10 * i : 10 * i + 12 + (12 - i) // 4] = 1
        before[f"structure {i}"] = mask
    after = correct_volume_overlap({name: sitk.GetImageFromArray(mask) for name, mask in before.items()})
    after = {name: sitk.GetArrayFromImage(image) for name, image in after.items()}
    union, rest = (np.any(list(masks.values()), axis=0) for masks in (before, after))
    foreign = {name: int((after[name] & ~before[name].astype(bool)).sum()) for name in before}
    foreign = {name: number for name, number in foreign.items() if number}
    print(f"{count} structures: {union.sum()} voxels, {(union & ~rest).sum()} of them lost, foreign ones in {foreign}")
    return int(union.sum()), int((union & ~rest).sum()), foreign

assert overlap(8)[1:] == (0, {})
assert overlap(12) == (4880, 240, {"structure 2": 240}), "the overlap changed"

single = [sitk.GetImageFromArray(np.eye(1, 40, i, np.uint8)) for i in range(32)]
decoded = binary_decode_image(binary_encode_structure_list(single))
print(f"32 structures encoded, {len(decoded)} decoded")
assert len(decoded) == 31, "encoding changed"
single[3] *= 0
decoded = binary_decode_image(binary_encode_structure_list(single[:6]))
print("six with number 3 empty come back as", [int(sitk.GetArrayFromImage(image).argmax()) for image in decoded])
assert len(decoded) == 5
PY
