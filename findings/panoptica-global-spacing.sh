#!/bin/bash
# panoptica 2.1.7 (PyPI; numpy 2.2.6, scipy 1.17.1; CPython 3.11): Panoptica_Evaluator.evaluate(..., voxelspacing=...).
# Documentation of the argument: "Voxel spacing for the evaluation". The result holds a score per matched instance
# (sq_hd, sq_assd, ...) and, with global_metrics, the same score over the whole mask (global_bin_hd, ...).
# Input: one box of 6 slices against the same box without its first slice and its first two rows; slices are 5 mm
# apart, voxels 1 x 1 mm. As there is one instance, both scores are of the same two masks.
# Seen: sq_hd 5.385 (right, mm), global_bin_hd 2.236 (voxels); sq_assd 1.603, global_bin_assd 0.509; HD95 5.0 and 2.0.
# With spacing 1, 1, 1 the pairs are equal. The spacing is never handed to the global metrics, and nothing says so.
# A table of such results mixes millimetres and voxels, and the global distance looks better than the instance's.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    panoptica==2.1.7 connected-components-3d==3.29.0 numpy==2.2.6 scipy==1.17.1 scikit-image==0.26.0 lazy-loader==0.6 \
    packaging==26.4 rich==13.9.4 pygments==2.21.0 markdown-it-py==4.3.0 mdurl==0.1.2 ruamel.yaml==0.19.1 tqdm==4.70.1
PYTHONPATH="$d/p" PANOPTICA_CITATION_REMINDER=false python3 - <<'PY'
import sys
from unittest.mock import MagicMock

# Tables and plots are not used here, and their packages take longer to install than all others.
sys.modules.update((name, MagicMock()) for name in ("pandas", "plotly", "plotly.express", "plotly.graph_objects"))

import math
import numpy as np
from panoptica import ConnectedComponentsInstanceApproximator, InputType, NaiveThresholdMatching, Panoptica_Evaluator
from panoptica.metrics import Metric

truth = np.zeros((12, 40, 40), np.uint8)
truth[3:9, 10:30, 10:30] = 1
found = np.zeros_like(truth)
found[4:9, 12:30, 10:30] = 1
metrics = [Metric.HD, Metric.HD95, Metric.ASSD]
evaluator = Panoptica_Evaluator(expected_input=InputType.SEMANTIC, instance_matcher=NaiveThresholdMatching(),
                                instance_approximator=ConnectedComponentsInstanceApproximator(),
                                instance_metrics=metrics, global_metrics=metrics)

def scores(spacing):
    result = evaluator.evaluate(found, truth, voxelspacing=spacing, verbose=False)
    (row,) = (r.to_dict() for r in result.values())
    pairs = {m: (float(row[f"sq_{m}"]), float(row[f"global_bin_{m}"])) for m in ("hd", "hd95", "assd")}
    print(spacing, {m: tuple(round(v, 3) for v in pair) for m, pair in pairs.items()}, "(instance, global)")
    return pairs

voxels = scores((1.0, 1.0, 1.0))
mm = scores((5.0, 1.0, 1.0))
for name, (instance, whole) in voxels.items():
    assert math.isclose(instance, whole), "with spacing 1 the two differ"
    assert mm[name][1] == whole and mm[name][0] > 2 * whole, "the global metric follows the spacing now"
assert math.isclose(mm["hd"][0], math.sqrt(5**2 + 2**2))
PY
