#!/bin/bash
# panoptica 2.1.7 (PyPI; connected-components-3d 3.29.0, scipy 1.17.1, numpy 2.2.6; CPython 3.11):
# ConnectedComponentsInstanceApproximator, which counts the lesions of a mask before every score.
# Documentation of its cca_backend: "If None, will use cc3d for 3D and scipy for 1D and 2D inputs": a choice of who
# computes, it seems.
# Input: two squares of 6 x 6 voxels that touch at one corner, once as a 2-D picture, once as one slice of a volume.
# Expected: the same count.
# Seen: 2 instances in 2-D, 1 in 3-D. cc3d joins over corners (26 neighbours), scipy's label over faces only, and each
# is called with its own default. So the same slice scored as a picture or as a volume has another number of instances,
# another recognition quality and another panoptic quality: 1 of 1 found against 1 of 2 found.
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

import numpy as np
from panoptica import ConnectedComponentsInstanceApproximator, InputType, NaiveThresholdMatching, Panoptica_Evaluator
from panoptica.metrics import Metric

truth = np.zeros((24, 24), np.uint8)
truth[2:8, 2:8] = truth[8:14, 8:14] = 1
found = truth.copy()
found[2:8, 2:8] = 0  # one of the two squares is missed
found[7, 7] = 1      # but for the voxel at the corner

evaluator = Panoptica_Evaluator(expected_input=InputType.SEMANTIC, instance_matcher=NaiveThresholdMatching(),
                                instance_approximator=ConnectedComponentsInstanceApproximator(),
                                instance_metrics=[Metric.DSC, Metric.IOU], global_metrics=[Metric.DSC])

def counts(name, prediction, reference):
    result = evaluator.evaluate(prediction, reference, verbose=False)
    (row,) = (r.to_dict() for r in result.values())
    print(name, {k: row[k] for k in ("n_ref_instances", "n_pred_instances", "tp", "fn", "rq", "pq_dsc")},
          "Dice of the whole", round(float(row["global_bin_dsc"]), 4))
    return row

flat = counts("as a picture:", found, truth)
volume = counts("as a volume:", *(np.pad(m[None], ((1, 1), (0, 0), (0, 0))) for m in (found, truth)))
assert float(flat["global_bin_dsc"]) == float(volume["global_bin_dsc"])
assert (flat["n_ref_instances"], flat["n_pred_instances"]) == (2, 2), "2-D counts changed"
assert (volume["n_ref_instances"], volume["n_pred_instances"]) == (1, 1), "3-D counts changed"
PY
