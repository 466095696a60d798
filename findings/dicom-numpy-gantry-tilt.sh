#!/bin/bash
# dicom-numpy 0.6.5 (PyPI; pydicom 3.0.2, numpy 2.2.6; CPython 3.11): combine_slices() of a head CT whose gantry was
# tilted by 20 degrees, as is usual to spare the eyes.
# DICOM PS3.3 C.7.6.2.1.1: each slice lies at its own Image Position (Patient). With a tilt the slices are shifted along
# their columns from one to the next: the positions lie on a line that is not perpendicular to the slices.
# Documentation: the matrix "converts the ijk-pixel-indices into the xyz-coordinates in the DICOM patient's coordinate
# system"; the positions "must approximately form a line" (these do), else "a DicomImportException is raised".
# Seen: 1. The third column is the normal of the slices times their distance, so only the first slice is where it says.
#          With 40 slices, 5 mm along z, the last one is put 66.7 mm from its place. Nothing is logged.
#       2. The line is never tested: a slice that lies 10 mm aside passes as well.
# A sheared matrix would be exact for 1. dicom2nifti refuses such a series by default, dcm2niix warns of it.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    dicom-numpy==0.6.5 pydicom==3.0.2 numpy==2.2.6
PYTHONPATH="$d/p" python3 - <<'PY'
import math
import numpy as np
from dicom_numpy import combine_slices
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def slice_at(k, position, column):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{k + 1}"
    dataset.Modality, dataset.SeriesInstanceUID, dataset.InstanceNumber = "CT", "1.2.3", k + 1
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelSpacing = 1, 0, [0.5, 0.5]
    dataset.ImageOrientationPatient = [1, 0, 0, *(round(float(v), 9) for v in column)]
    dataset.ImagePositionPatient = [round(float(v), 6) for v in position]
    dataset.PixelData = np.full((4, 4), k, "<i2").tobytes()
    return dataset

def worst(name, tilt, aside=0.0):
    column = np.array([0, math.cos(math.radians(tilt)), -math.sin(math.radians(tilt))])
    positions = [np.array([-100 + aside * (k == 20), -120, 5.0 * k]) for k in range(40)]
    series = [slice_at(k, position, column) for k, position in enumerate(positions)]
    voxels, matrix = combine_slices(series)
    assert np.array_equal(voxels[0, 0], np.arange(40))
    places = np.array([(matrix @ [0, 0, k, 1])[:3] for k in range(40)])
    off = np.linalg.norm(places - positions, axis=1)
    print(f"{name}: slices off by {off[1]:.2f} mm (second), {off.max():.2f} mm (slice {off.argmax() + 1})")
    return off

assert worst("upright", 0).max() < 1e-3
tilted = worst("tilted by 20 degrees", 20)
assert math.isclose(tilted[39], 39 * 5 * math.sin(math.radians(20)), rel_tol=1e-3), "the matrix changed"
assert math.isclose(worst("upright, one slice aside", 0, aside=10)[20], 10, rel_tol=1e-3), "the line is tested now"
PY
