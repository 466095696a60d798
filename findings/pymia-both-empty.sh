#!/bin/bash
# pymia 0.3.4 (PyPI; SimpleITK 2.5.7, numpy 2.2.6; CPython 3.11): the evaluation of a case whose structure is absent in
# the reference and absent in the prediction, as it happens with every rarer organ or lesion of a test set.
# Documentation: DiceCoefficient "with empty target handling" is 1 when both are empty. Nothing of the kind is said of
# SurfaceDiceOverlap or VolumeSimilarity, whose range is 0 to 1 by their definitions.
# Seen for that one case, in one row: DICE 1.0, SURFDICE -inf, VOLSMTY -inf, HDRFDST inf.
# Why it surprises: the three overlap scores have the same range and the same perfect value; two of them punish what the
# third rewards, and with a number below their range. StatisticsAggregator and CSVStatisticsWriter then take np.mean:
# one such case among perfect ones makes the mean -inf and the standard deviation nan; only a warning tells of it.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pymia==0.3.4 simpleitk==2.5.7 numpy==2.2.6 scipy==1.17.1 scikit-image==0.26.0 lazy-loader==0.6 packaging==26.4
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import math
import numpy as np
import SimpleITK as sitk
from pymia.evaluation.evaluator import SegmentationEvaluator
from pymia.evaluation.metric import DiceCoefficient, HausdorffDistance, SurfaceDiceOverlap, VolumeSimilarity
from pymia.evaluation.writer import StatisticsAggregator

filled = np.zeros((8, 16, 16), np.uint8)
filled[2:6, 4:12, 4:12] = 1
metrics = [DiceCoefficient(), SurfaceDiceOverlap(), VolumeSimilarity(), HausdorffDistance()]
evaluator = SegmentationEvaluator(metrics, {1: "lesion"})
for case in range(9):
    perfect = sitk.GetImageFromArray(filled)
    evaluator.evaluate(perfect, perfect, f"perfect {case}")
absent = sitk.GetImageFromArray(np.zeros_like(filled))
evaluator.evaluate(absent, absent, "absent in both")

rows = {name: {r.metric: r.value for r in evaluator.results if r.id_ == name}
        for name in ("perfect 0", "absent in both")}
means = {(r.id_, r.metric): r.value for r in StatisticsAggregator().calculate(evaluator.results)}
for name, row in rows.items():
    print(f"{name}: {row}")
print("over ten perfect cases:", {f"{k} {m}": v for (k, m), v in means.items()})
assert rows["perfect 0"] == {"DICE": 1.0, "SURFDICE": 1.0, "VOLSMTY": 1.0, "HDRFDST": 0.0}
assert rows["absent in both"] == {"DICE": 1.0, "SURFDICE": -math.inf, "VOLSMTY": -math.inf, "HDRFDST": math.inf}
assert means["MEAN", "DICE"] == 1.0
assert means["MEAN", "SURFDICE"] == means["MEAN", "VOLSMTY"] == -math.inf
assert math.isnan(means["STD", "SURFDICE"]) and means["MEAN", "HDRFDST"] == math.inf
PY
