#!/bin/bash
# nii2dcm 0.1.6 (PyPI; with the numpy 1.23.2, nibabel 5.0.0 and pydicom 2.3.0 that it demands; CPython 3.11).
# Documentation: it makes a DICOM series of a NIfTI file, for example "to store your new DICOM dataset alongside your
# original DICOM Study", so both must be in the same place.
# NIfTI places are x to the right, y to the front (nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE"),
# DICOM's x to the left, y to the back (PS3.3 C.7.6.2.1.1): x and y change sign, z does not.
#  1. An axial volume in RAS order, first voxel at -90, -126, -72. Expected Image Position 90, 126, -72.
#     Seen: -90, -126, -74. The sign is not changed, though it is in the orientation, and the first slice (2 mm) gets
#     the place before it. Every voxel lies 310 mm from where it was; the picture on the screen looks right.
#  2. A sagittal one (voxel axes to the front, upwards and to the right). Seen: the orientation's z is negated as well:
#     the head is upside down besides.
#  3. Values -1000, -1, 500, 5000. Expected the same after Rescale Slope and Intercept, or an exception.
#     Seen: slope 1, intercept 0, and words 64536, 65535, 500, 5000 with Bits Stored 12. By PS3.5 section 8.1.1 a sample
#     is those 12 bits: 3096, 4095, 500, 904. So a value above 4095, which most MR volumes have, is another one, and a
#     reader that does not mask shows the background brightest.
# Nothing is said. The flip of other voxel orders is its issue 43; here the axes are in the order that it handles.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nii2dcm==0.1.6 numpy==1.23.2 nibabel==5.0.0 pydicom==2.3.0 packaging==26.4
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import os, sys, tempfile
from pathlib import Path
import nibabel
import numpy as np
import pydicom
from nii2dcm.run import run_nii2dcm

def convert(voxels, affine):
    folder = tempfile.mkdtemp(dir=sys.argv[1])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), f"{folder}.nii")
    standard, sys.stdout = sys.stdout, open(os.devnull, "w")
    run_nii2dcm(f"{folder}.nii", folder, "MR")
    sys.stdout = standard
    return [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]

def places(name, affine):
    """-> by how much each voxel moved, in mm"""
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    moved = np.zeros((voxels.size, 3))
    series = convert(voxels, affine)
    for image in series:
        across, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        for (row, column), value in np.ndenumerate(image.pixel_array):
            place = (np.array(image.ImagePositionPatient, float) + across * float(image.PixelSpacing[1]) * column
                     + down * float(image.PixelSpacing[0]) * row)
            was = np.diag([-1, -1, 1]) @ (affine @ [*np.argwhere(voxels == value)[0], 1])[:3]
            moved[value] = place - was
    print(f"{name}: first slice at {list(map(float, series[0].ImagePositionPatient))},",
          f"should be {(np.diag([-1, -1, 1]) @ affine[:3, 3]).tolist()}; voxels moved by",
          moved.min(0).round(2).tolist(), "to", moved.max(0).round(2).tolist(), "mm")
    return moved

axial = np.array([[1, 0, 0, -90], [0, 1, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]], float)
sagittal = np.array([[0, 0, 2, -90], [1, 0, 0, -126], [0, 1, 0, -72], [0, 0, 0, 1]], float)
moved = places("axial", axial)
assert np.allclose(moved, [-180, -252, -2]), "the place changed"
moved = places("sagittal", sagittal)
upwards = np.unique(moved[:, 2].round(3))
assert np.allclose(upwards, [-8, -6, -4, -2, 0]), "the orientation changed"

values = np.tile(np.array([-1000, -1, 500, 5000], np.int16).reshape(4, 1, 1), (1, 5, 6))
image = convert(values, axial)[0]
words = np.frombuffer(image.PixelData, "<u2").reshape(4, 5)[:, 0]
samples = words & (2**image.BitsStored - 1)
print(f"values {values[:, 0, 0].tolist()} became {samples.tolist()} (words {words.tolist()}, Bits Stored",
      f"{image.BitsStored}, slope {image.RescaleSlope}, intercept {image.RescaleIntercept})")
assert (image.PixelRepresentation, image.RescaleSlope, image.RescaleIntercept) == (0, 1, 0)
assert words.tolist() == [64536, 65535, 500, 5000] and samples.tolist() == [3096, 4095, 500, 904], "values changed"
PY
