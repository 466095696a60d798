#!/bin/bash
# medio 0.7.1 (PyPI; dicom-numpy 0.6.5, pydicom 3.0.2, nibabel 5.4.2, numpy 2.2.6; CPython 3.11): read_img() of an
# Enhanced MR object (one file of many frames) by its own DICOM reader, backend "pdcm".
# Documentation of the reader: Rescale Slope and Rescale Intercept, where present, "will be applied".
#  1. Pixel Value Transformation in the Per-Frame Functional Groups, slope 1, 2, 4 and 8 in four frames (DICOM PS3.3
#     C.7.6.16 has the macro there when frames differ, as scanners scale each frame on its own).
#     Seen: the stored numbers of all frames. Only the Shared Functional Groups are looked at, and a missing item there
#     counts as no scaling.
#  2. In the Shared ones, slope 1, intercept 0, unsigned 16 bits: 40000. Seen: -25536. Voxels are made int16 before the
#     scaling; 30000 with slope 2 is -5536 for the same reason.
# Nothing is said in either case. A series of single files is read in float32 and comes out right. (itk, which reads
# other formats, is left out below.)
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    medio==0.7.1 dicom-numpy==0.6.5 pydicom==3.0.2 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
from unittest.mock import MagicMock

sys.modules.update((name, MagicMock()) for name in ("itk", "itk.support", "itk.support.types"))

import numpy as np
from medio import read_img
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset

def read(stored, slopes, shared):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.4.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    mr = FileDataset("mr", {}, file_meta=meta, preamble=bytes(128))
    mr.SOPClassUID, mr.SOPInstanceUID, mr.SeriesInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4", "1.2.3"
    mr.Modality, mr.Rows, mr.Columns, mr.NumberOfFrames, mr.SamplesPerPixel = "MR", 3, 4, len(slopes), 1
    mr.PhotometricInterpretation, mr.PixelRepresentation = "MONOCHROME2", 0
    mr.BitsAllocated = mr.BitsStored = 16
    mr.HighBit = 15
    common = item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=2, SpacingBetweenSlices=2)],
                  PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2 * k])]) for k in range(len(slopes))]
    for group, slope in zip([common] if shared else frames, slopes):
        group.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")]
    mr.SharedFunctionalGroupsSequence, mr.PerFrameFunctionalGroupsSequence = [common], frames
    mr.PixelData = np.repeat(np.array(stored, "<u2"), 12).tobytes()
    mr.save_as(path := f"{sys.argv[1]}/mr.dcm", enforce_file_format=True)
    voxels, _ = read_img(path, backend="pdcm")
    return [float(v) for v in voxels[0, 0]]

def compare(name, stored, slopes, shared, now):
    want = [float(a * b) for a, b in zip(stored, slopes)]
    seen = read(stored, slopes, shared)
    print(f"{name}: should be {want}, is {seen}")
    assert seen == now, f"{name} changed"

small = [100, 100, 100, 100]
compare("shared slope 2", small, 4 * [2], True, [200] * 4)
compare("slopes of frames", small, [1, 2, 4, 8], False, small)
compare("shared slope 1, 16 bits", [0, 30000, 40000, 65535], 4 * [1], True, [0, 30000, -25536, -1])
compare("shared slope 2, 16 bits", [0, 10000, 30000, 65535], 4 * [2], True, [0, 20000, -5536, -2])
PY
