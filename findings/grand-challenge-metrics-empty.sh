#!/bin/bash
# grand-challenge-metrics 0.6.0 (PyPI, the scores of grand-challenge.org; numpy 2.2.6, scipy 1.17.1; CPython 3.11): one
# mask is empty, as when a method misses the organ.
# Documentation of mean_contour_distance and modified_hausdorff_distance: a "real metric" between "the object(s)" of two
# images, in mm; nothing is said of no object.
# Expected: an exception, nan or inf. hausdorff_distance and percentile_hausdorff_distance do raise (ValueError from
# numpy on an array of no elements, IndexError).
# Seen: the two averages return a number that looks like a distance (only numpy's "Mean of empty slice" is printed):
# 29.17 voxels for an organ of 6 x 20 x 20, and 15.64 (modified_hausdorff_distance) for the same organ at the first
# voxel. It is the mean distance of its surface from the point -1, 0, 0, as scipy's distance transform measures to an
# index that was never set when there is no background at all. So a missed organ enters a ranking with a moderate
# error, and the same miss counts less when the organ lies near index 0.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    grand-challenge-metrics==0.6.0 numpy==2.2.6 scipy==1.17.1
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import math
import numpy as np
from grand_challenge_metrics import stats
from scipy.ndimage import binary_erosion

def organ(z, y, x):
    mask = np.zeros((12, 40, 40), int)
    mask[z:z + 6, y:y + 20, x:x + 20] = 1
    return mask

empty = np.zeros((12, 40, 40), int)
for name, mask in (("middle", organ(3, 10, 10)), ("corner", organ(0, 0, 0))):
    for scored in (stats.hausdorff_distance, stats.percentile_hausdorff_distance):
        try:
            print(name, scored.__name__, scored(mask, empty))
            raise AssertionError("no exception")
        except (ValueError, IndexError) as error:
            print(name, scored.__name__, "raises", type(error).__name__)
    surface = np.argwhere(mask.astype(bool) & ~binary_erosion(mask))
    phantom = np.sqrt(((surface + [1, 0, 0]) ** 2).sum(1)).mean()
    for scored in (stats.modified_hausdorff_distance, stats.mean_contour_distance):
        got = float(scored(mask, empty))
        print(name, scored.__name__, round(got, 4), "mean distance to -1, 0, 0:", round(phantom, 4))
        assert math.isfinite(got), "no longer a number"
        if scored is stats.modified_hausdorff_distance:
            assert math.isclose(got, phantom), "another number"
PY
