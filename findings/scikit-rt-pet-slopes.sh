#!/bin/bash
# scikit-rt 0.8.2 (PyPI, "loading, plotting, and analysing radiotherapy data in DICOM and NIfTI formats"; with pydicom
# 2.4.5, pandas 2.2.3, scipy 1.17.1, nibabel 5.4.2, numpy 1.26.4 in place of older ones that it pins and CPython 3.11
# cannot have; CPython 3.11): skrt.image.Image of a PET series. Each slice of a PET has a Rescale Slope of its own
# (DICOM PS3.3 C.8.9.4), since its 16-bit numbers are scaled to its own largest value.
#  1. Six slices with a spot of 1000 Bq/ml on each and slopes from 0.5 to 4. Documentation of the function that scales:
#     "Rescale an array according to rescaling info in a dicom dataset". Seen: the whole stack is scaled by the slope of
#     the file that was read last, and the spots have 1000 to 8000. With one slope for all, as in CT, all is right.
#  2. Pixel Spacing 2\3. By PS3.3 10.7.1.3 the first value is the distance of the rows, in y here, and the second that
#     of the columns. Seen: the other way round; a spot is found 29 mm from its place. The package's own DICOM writer
#     exchanges both as well, so that a round trip hides it.
# Nothing is said in either case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    scikit-rt==0.8.2 pydicom==2.4.5 pandas==2.2.3 scipy==1.17.1 nibabel==5.4.2 numpy==1.26.4 packaging==26.4 \
    typing-extensions==4.16.0 pytz==2025.2 tzdata==2025.2 python-dateutil==2.9.0.post0 six==1.17.0
PYTHONPATH="$d/p" HOME="$d" python3 -W ignore - "$d" <<'PY'
import os, sys
from unittest.mock import MagicMock

# For windows, plots, settings files and polygons, which nothing below asks for.
for name in ("ipywidgets", "matplotlib.ticker", "tomli", "tomli_w", "matplotlib", "matplotlib.cm", "matplotlib.colors",
             "matplotlib.pyplot", "matplotlib.patches", "shapely", "shapely.geometry", "shapely.ops", "skimage",
             "skimage.draw", "skimage.measure", "skimage.transform", "skimage.transform.radon_transform",
             "skimage.filters", "IPython.display"):
    sys.modules[name] = MagicMock()
for name in ("Set1", "Set2", "Set3", "tab20"):
    getattr(sys.modules["matplotlib"].cm, name).colors = [(0, 0, 0)] * 12

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from skrt.image import Image

PET = "1.2.840.10008.5.1.4.1.1.128"
FIRST = (-30.0, -40.0, 100.0)

def series(name, slopes, spacing):
    """A PET of 20 x 30 voxels a slice, 4 mm apart, with a spot of 1000 Bq/ml at row 15, column 25 of each."""
    os.mkdir(f"{sys.argv[1]}/{name}")
    for k, slope in enumerate(slopes):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, PET
        meta.MediaStorageSOPInstanceUID = f"2.25.{len(name)}{k + 1}"
        path = f"{sys.argv[1]}/{name}/{k}.dcm"
        image = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
        image.is_little_endian, image.is_implicit_VR = True, False
        image.SOPClassUID, image.SOPInstanceUID = PET, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        image.SeriesNumber, image.InstanceNumber, image.Modality, image.Units = 1, k + 1, "PT", "BQML"
        image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 20, 30, 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.PixelSpacing, image.SliceThickness, image.ImageOrientationPatient = list(spacing), 4, [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [FIRST[0], FIRST[1], FIRST[2] + 4 * k]
        image.RescaleSlope, image.RescaleIntercept = slope, 0
        voxels = np.zeros((20, 30), "<i2")
        voxels[15, 25] = round(1000 / slope)
        image.PixelData = voxels.tobytes()
        image.save_as(path, write_like_original=False)
    found = Image(f"{sys.argv[1]}/{name}")
    found.load()
    return found

def spots(image):
    return image.get_data().max(axis=(0, 1)).tolist()

slopes = [0.5, 1, 2, 4, 2, 4]
one, own = spots(series("one", [2] * 6, (3, 3))), spots(series("own", slopes, (3, 3)))
print(f"spots of 1000 Bq/ml with one slope {one}, with slopes {slopes} {own}")

def place(spacing, name):
    """-> where the spot of the first slice is by the image's affine, and by DICOM, in mm"""
    image = series(name, [1] * 6, spacing)
    row, column = np.argwhere(image.get_data()[:, :, 0] > 0)[0]
    affine = image.get_affine()
    seen = (affine @ [column, row, 0, 1])[:3]
    want = np.array(FIRST) + [25 * spacing[1], 15 * spacing[0], 0]
    print(f"Pixel Spacing {spacing}: voxels of {image.get_voxel_size()} mm; the spot is at {want.tolist()}, found at",
          seen.tolist())
    return np.linalg.norm(seen - want)

square, oblong = place((3, 3), "square"), place((2, 3), "oblong")
print(f"away from its place by {square:.1f} and {oblong:.1f} mm")

assert one == [1000] * 6
assert own == [1000 / slope * 4 for slope in slopes], "another scale"
assert square == 0 and round(oblong, 1) == 29.2, "another spacing"
PY
