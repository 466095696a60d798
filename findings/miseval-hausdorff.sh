#!/bin/bash
# miseval 1.3.0 (PyPI; with hausdorff 0.2.6, numpy 2.2.6, scipy 1.17.1; CPython 3.11): two of its distance metrics are
# not what their names say.
# Input: a square of 20 x 20 voxels against the same square with one more voxel 31 rows and 31 columns from its corner.
# Expected, in voxels: Hausdorff distance sqrt(31^2 + 31^2) = 43.84. Average Hausdorff distance as Taha and Hanbury
# define it (BMC Medical Imaging 2015, 10.1186/s12880-015-0068-x): the larger of the two mean distances, 43.84 / 401.
# Seen: "HD" ("SimpleHausdorffDistance") gives 1.0 and "AHD" ("AverageHausdorffDistance") the plain maximum, 43.84.
# Why: the mask itself is handed to the package hausdorff, whose documentation asks for one point a row; so 64 rows of
# grey values are compared as 64 points in 64 dimensions, and the best match of a row with one 1 in it is a row of
# zeros, at distance 1. Moving that voxel along its row changes nothing. AHD's code takes the maximum and averages
# nothing. A user who reads "HD = 1.0" believes in an outline that is off by one voxel at most.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    miseval==1.3.0 hausdorff==0.2.6 dictances==1.5.3 numba==0.68.1 llvmlite==0.50.0 numpy==2.2.6 scipy==1.17.1 \
    scikit-learn==1.9.1 joblib==1.6.0 threadpoolctl==3.8.0 narwhals==2.29.0 scikit-image==0.26.0 lazy-loader==0.6 \
    packaging==26.4
PYTHONPATH="$d/p" python3 - <<'PY'
import math
import numpy as np
from miseval import evaluate
from scipy.ndimage import distance_transform_edt

truth = np.zeros((64, 64), np.int64)
truth[10:30, 10:30] = 1
far, near = truth.copy(), truth.copy()
far[60, 60] = 1
near[60, 20] = 1
distances = distance_transform_edt(truth == 0)[far == 1]
want_max, want_mean = distances.max(), distances.mean()  # the other direction is 0
assert math.isclose(want_max, 31 * math.sqrt(2))

seen = {name: float(evaluate(truth, far, metric=name)) for name in ("HD", "AHD")}
moved = float(evaluate(truth, near, metric="HD"))
print(f"Hausdorff distance: should be {want_max:.2f}, 'HD' says {seen['HD']:.2f}, with the voxel elsewhere {moved:.2f}")
print(f"average Hausdorff distance: should be {want_mean:.3f}, 'AHD' says {seen['AHD']:.2f}")
assert seen["HD"] == 1.0 and moved == 1.0, "HD no longer compares rows"
assert math.isclose(seen["AHD"], want_max), "AHD is no longer the maximum"
PY
