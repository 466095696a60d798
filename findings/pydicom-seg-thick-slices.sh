#!/bin/bash
# pydicom-seg 0.4.1 (PyPI; pydicom 2.4.5, SimpleITK 2.5.7, numpy 1.26.4; CPython 3.11): a segmentation of a CT whose
# slices overlap, 5 mm thick every 2.5 mm, as many chest and liver series are reconstructed.
# DICOM PS3.3 C.7.6.16.2.1 (Pixel Measures): Slice Thickness is the nominal thickness; Spacing Between Slices is
# required only with a Dimension Organization Type of 3D, so a valid object may lack it. Where a frame lies is said by
# its Image Position (Patient) alone (C.7.6.16.2.3).
# Documentation: SegmentReader "extracts all segments as individual numpy arrays" with their "spatial location".
# Seen: without Spacing Between Slices the thickness is taken for the distance. Eleven frames are put into six slices:
# five of them are overwritten by a neighbour, whichever comes later, and the volume of the segment changes. No
# exception, no warning. With slices 1 mm thick every 2.5 mm the eleven are spread over 26 slices, 15 of them empty.
# With Spacing Between Slices there are eleven.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pydicom-seg==0.4.1 pydicom==2.4.5 simpleitk==2.5.7 numpy==1.26.4
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import sys
from unittest.mock import MagicMock

sys.modules["jsonschema"] = MagicMock()  # for the templates of the writer, which is not used here

import numpy as np
import pydicom_seg
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return [dataset]

def segmentation(thickness, spacing=None):
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.SOPClassUID, seg.SOPInstanceUID, seg.Modality = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.4", "SEG"
    seg.Rows, seg.Columns, seg.NumberOfFrames, seg.SamplesPerPixel = 8, 8, 11, 1
    seg.PhotometricInterpretation, seg.PixelRepresentation = "MONOCHROME2", 0
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit, seg.SegmentationType, seg.SegmentsOverlap = 0, "BINARY", "NO"
    seg.SegmentSequence = item(SegmentNumber=1, SegmentLabel="liver", SegmentAlgorithmType="MANUAL")
    measures = item(PixelSpacing=[1, 1], SliceThickness=thickness)
    if spacing:
        measures[0].SpacingBetweenSlices = spacing
    seg.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=measures, PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        SegmentIdentificationSequence=item(ReferencedSegmentNumber=1))
    seg.PerFrameFunctionalGroupsSequence = [item(
        PlanePositionSequence=item(ImagePositionPatient=[0, 0, 2.5 * k]))[0] for k in range(11)]
    # Frame k has k + 1 voxels set: the area of a slice tells which frame it is.
    frames = np.zeros((11, 64), np.uint8)
    for k in range(11):
        frames[k, :k + 1] = 1
    seg.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    return seg

def areas(name, seg):
    result = pydicom_seg.SegmentReader().read(seg)
    found = [int(a) for a in result.segment_data(1).sum(axis=(1, 2))]
    many = pydicom_seg.MultiClassReader().read(seg).data.sum(axis=(1, 2)).tolist()
    assert found == many
    print(f"{name}: spacing {result.spacing[2]}, voxels a slice {found}, together {sum(found)} (should be 66)")
    return found

right = list(range(1, 12))
assert areas("5 mm thick, Spacing Between Slices 2.5", segmentation(5, 2.5)) == right
assert areas("2.5 mm thick, no Spacing Between Slices", segmentation(2.5)) == right
thick = areas("5 mm thick, no Spacing Between Slices", segmentation(5))
thin = areas("1 mm thick, no Spacing Between Slices", segmentation(1))
assert len(thick) == 6 and len(set(right) - set(thick)) == 5, "overlapping slices changed"
assert len(thin) == 26 and thin.count(0) == 15, "gaps changed"
PY
