#!/bin/bash
# mircat-stats 1.0.0 (PyPI, "Mirshahi CT Analysis Toolkit": the volume and mean CT number of each organ; with the
# SimpleITK 2.3.1 that it demands, numpy 1.26.4, loguru 0.7.2; CPython 3.11): a CT and the labels of a segmentation,
# as its documentation asks for, in axial slices of 5, 3 and 1 mm.
#  1. Both are resampled to 1 mm. The new grid reaches beyond the middle of the last slice, and what lies outside of the
#     image must be background, label 0. Seen: it gets the number that ITK has for the type of the voxels, 1 for bytes,
#     3 for unsigned and 2 for signed 16 bits. Label 1 is the spleen, 3 the left kidney, 2 the right one. With slices of
#     5 mm two whole planes of the image are spleen: here 22.5 cm3 where there is no spleen at all, in a CT of 350 mm
#     245 cm3, a normal spleen. With 1 mm nothing lies outside.
#  2. Segmentation(nifti, names), "Labels will be indexed from 1 to len(labels)". Spleen, gallbladder and right kidney
#     (labels 1, 4, 2) in this order. Expected: 1, 2, 3. Seen: no gallbladder, and the kidney is where the gallbladder
#     was. Labels are exchanged one after another in the same array: 4 becomes 2, then every 2 becomes 3, and of the two
#     organs under one label the larger is kept. In the order of the labels it is right.
# Nothing is said in the first case, and in the second no more than a line to the debug log that one was not found.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    mircat-stats==1.0.0 SimpleITK==2.3.1 numpy==1.26.4 loguru==0.7.2
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import json, os, sys
from unittest.mock import MagicMock

# For aortas, contrast, tissues, tables and DICOM, which nothing below asks for.
for name in ("scipy", "scipy.ndimage", "scipy.signal", "scipy.interpolate", "pandas", "xgboost", "kimimaro", "tqdm",
             "skimage", "skimage.morphology", "skimage.filters", "threadpoolctl", "dicom2nifti", "pydicom",
             "dicom2nifti.settings", "dicom2nifti.convert_dir", "pydicom.errors"):
    sys.modules[name] = MagicMock()

import numpy as np
import SimpleITK as sitk
from loguru import logger
from mircat_stats.statistics import single_nifti_stats
from mircat_stats.statistics.nifti import MircatNifti
from mircat_stats.statistics.segmentation import Segmentation

logger.remove()
WIDE = 106  # mm

def case(name, step, kind):
    """-> the file of a CT with a stomach of 20 x 20 x 30 mm and a vertebra, and no other organ"""
    labels = np.zeros((60 // step, WIDE, WIDE), kind)
    labels[15 // step:45 // step, 20:40, 20:40] = 6
    labels[15 // step:45 // step, 60:80, 60:80] = 29
    ct = np.full(labels.shape, -1000, np.int16)
    ct[labels > 0] = 50
    folder = f"{sys.argv[1]}/{name}"
    os.makedirs(f"{folder}/ct_segs")
    for voxels, path in ((ct, f"{folder}/ct.nii.gz"), (labels, f"{folder}/ct_segs/ct_total.nii.gz")):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((1, 1, step))
        sitk.WriteImage(image, path)
    return f"{folder}/ct.nii.gz"

seen = {}
for step in (5, 3, 1):
    for kind in (np.uint8, np.int16, np.uint16):
        path = case(f"{step}-{kind.__name__}", step, kind)
        single_nifti_stats(path, ["total"], False, False)
        with open(path.replace("ct.nii.gz", "ct_segs/ct_stats.json")) as file:
            stats = json.load(file)
        volumes = {key[:-11]: value for key, value in stats.items()
                   if key.endswith("_volume_cm3") and value is not None}
        print(f"slices of {step} mm, {kind.__name__}: expected stomach and vertebrae_L1 of 12.0 cm3, seen", volumes)
        seen[step, kind] = volumes

wrong = {np.uint8: "spleen", np.int16: "kidney_right", np.uint16: "kidney_left"}
for (step, kind), volumes in seen.items():
    organs = {"stomach", "vertebrae_L1"}
    assert organs <= set(volumes)
    # planes at whole millimetres that lie half a slice or more beyond the middle of the last slice
    planes = sum(z >= 60 - step / 2 for z in range(60)) if step > 1 else 0
    if planes:
        assert set(volumes) == organs | {wrong[kind]}, "another filling"
        assert volumes[wrong[kind]] == round(planes * WIDE * WIDE / 1000, 1), "another volume of nothing"
    else:
        assert set(volumes) == organs and volumes["stomach"] == 12

nifti = MircatNifti(case("order", 1, np.uint8))
file = str(nifti.path).replace("ct.nii.gz", "ct_segs/ct_total.nii.gz")
labels = sitk.ReadImage(file)
labels[60:70, 60:70, 5:15], labels[90:100, 5:15, 5:15], labels[5:15, 80:100, 40:50] = 1, 2, 4
sitk.WriteImage(labels, file)
nifti.setup(["total"], False)
truth = sitk.GetArrayFromImage(labels)

def taken(names):
    """-> the labels of the input that each name has got"""
    found = Segmentation(nifti, names)
    voxels = sitk.GetArrayFromImage(found.segmentation)
    got = {name: np.unique(truth[voxels == names.index(name) + 1]).tolist() for name in found.seg_names}
    print("asked for", names, "and got from the labels", got)
    return got

assert taken(["spleen", "kidney_right", "gallbladder"]) == {"spleen": [1], "kidney_right": [2], "gallbladder": [4]}
assert taken(["spleen", "gallbladder", "kidney_right"]) == {"spleen": [1], "kidney_right": [4]}, "the labels changed"
PY
