#!/bin/bash
# pymedphys 0.41.0 (PyPI; pydicom 3.0.2, scipy 1.17.1, numpy 1.26.4; CPython 3.11): zyx_and_dose_from_dataset() and
# dicom_dose_interpolate() of one RT Dose, stored in the orders used for patients who do not lie on their back.
# DICOM PS3.3 C.7.6.2.1.1 and C.8.8.3.2 (a): voxels lie at Image Position + steps along rows and columns, frames at
# their offsets along the cross product of the two. So a dose can be stored from any corner of its grid, and the dose at
# a place is the same. Documentation: eight such orders are "supported"; axes are "in the DICOM coordinate system".
#  1. Head first prone, feet first supine, feet first prone. Seen: the grid is where its mirror image would be. An axis
#     that runs from 60 down to -100 is given as 100 down to -60. (The signs are turned, the axis is reversed, and the
#     signs are not turned back.) A grid centred on the origin comes out right, so tests on phantoms pass. Below, the
#     dose is read 40 or 60 mm from the place that was asked for, in two of three axes.
#  2. Head first decubitus left, whose rows run along y. Seen: further, the array's rows are taken for y and its columns
#     for x, where it is the other way round (its issue 1771, open, which takes the axes themselves for right). A grid
#     of as many rows as columns goes through; otherwise scipy raises.
# So the gamma or the profile of a plan for a prone breast compares doses at other places. Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pymedphys==0.41.0 pydicom==3.0.2 scipy==1.17.1 numpy==1.26.4 tomlkit==0.13.3 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pymedphys.dicom import dicom_dose_interpolate, zyx_and_dose_from_dataset

step, count = 10, 17
low = np.array([-100, -50, -100])  # the grid goes from here 160 mm along x, y and z
high = low + step * (count - 1)

def gray(place):
    """a dose that says where it was read"""
    return 30 + place @ np.array([0.1, 0.02, 0.004])

def stored(rows, columns):
    """-> an RT Dose whose rows run along one direction and its columns along another"""
    normal = np.cross(rows, columns)
    first = np.where(np.array(rows) + columns + normal > 0, low, high)
    frame, row, column = np.indices((count,) * 3)[..., None]
    places = first + step * (frame * normal + row * np.array(columns) + column * np.array(rows))
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality, ds.DoseGridScaling = "1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", 0.0001
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [*rows, *columns], first.tolist()
    ds.PixelSpacing, ds.GridFrameOffsetVector = [step, step], [step * i for i in range(count)]
    ds.Rows = ds.Columns = ds.NumberOfFrames = count
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 32, 32, 31, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = np.round(gray(places) / ds.DoseGridScaling).astype("<u4").tobytes()
    return ds

place = np.array([-20, 30, -20])
for name, rows, columns, wrong in (("head first supine", (1, 0, 0), (0, 1, 0), ""),
                                   ("head first prone", (-1, 0, 0), (0, -1, 0), "xy"),
                                   ("feet first supine", (-1, 0, 0), (0, 1, 0), "xz"),
                                   ("feet first prone", (1, 0, 0), (0, -1, 0), "yz"),
                                   ("head first decubitus left", (0, -1, 0), (1, 0, 0), "y")):
    (z, y, x), dose = zyx_and_dose_from_dataset(stored(rows, columns))
    (value,) = dicom_dose_interpolate(([place[2]], [place[1]], [place[0]]), stored(rows, columns)).ravel()
    print(f"{name}: x, y, z from {x[0]:g}, {y[0]:g}, {z[0]:g} to {x[-1]:g}, {y[-1]:g}, {z[-1]:g};",
          f"dose at {place.tolist()} should be {gray(place):.3f}, is {value:.3f}")
    moved = np.array([name in wrong for name in "xyz"]) * -(low + high)  # from the place to its mirror image
    ends = np.array([[axis.min(), axis.max()] for axis in (x, y, z)]).T
    assert np.allclose(ends, [low + moved, high + moved]), "the axes changed"
    if "decubitus" in name:  # the array's rows are apart along x, its columns along y; taken the other way round
        row, column = (place[1] - y[0]) / (y[1] - y[0]), (place[0] - x[0]) / (x[1] - x[0])
        read = np.array([low[0] + step * row, high[1] - step * column, place[2]])
    else:
        read = place - moved
    assert abs(value - gray(read)) < 1e-3, "the dose changed"
PY
