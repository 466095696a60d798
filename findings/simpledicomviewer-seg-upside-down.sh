#!/bin/bash
# simpledicomviewer 2.0.4 (PyPI, the viewer of The Cancer Imaging Archive's tcia_utils, for "spot checks"; pydicom
# 3.0.2, numpy 2.4.6; CPython 3.11): viewDicom() of a CT series with a DICOM SEG.
# By DICOM PS3.3 C.7.6.16.2.3 the place of a SEG's frame is said by its Image Position (Patient). The order of frames
# says nothing of it, and files from head to feet are as usual as the reverse.
# Input: a CT of six slices, 5 mm apart, and a SEG of one organ, a frame for each slice, with 2 and 1 pixels on the two
# lowest slices.
#  1. Frames from the feet up. Seen: right.
#  2. The same frames with the same positions, from the head down. Expected: the same picture. Seen: the organ is on the
#     two highest slices, 25 mm from its place. Positions are not looked at; frame k is drawn on slice k.
#  3. Two organs, a frame a slice each, where the second organ's frames run the other way: it alone is upside down.
# What it says is "Successfully created label map from DICOM SEG."
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    simpledicomviewer==2.0.4 pydicom==3.0.2 numpy==2.4.6
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import os, sys
from unittest.mock import MagicMock

# The screen, the sliders and RT Structures. The picture is taken where it is handed to the screen.
for name in ("matplotlib", "matplotlib.pyplot", "ipywidgets", "IPython", "IPython.display", "rt_utils"):
    sys.modules[name] = MagicMock()
screen, sliders = sys.modules["matplotlib.pyplot"], sys.modules["ipywidgets"]
sys.modules["matplotlib"].pyplot = screen
screen.subplots.side_effect = lambda **_: (MagicMock(), screen.axes)
screen.get_cmap.side_effect = lambda *_: lambda part: (1.0, 0.0, 0.0, 1.0) if part < 0.6 else (0.0, 1.0, 0.0, 1.0)

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.uid import ExplicitVRLittleEndian
from simpleDicomViewer.dicomViewer import viewDicom

CT, SEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"
PLACES = [-100 + 5 * k for k in range(6)]

def dataset(kind, number, voxels, bits):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = kind
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"2.25.{number}"
    image.StudyInstanceUID, image.FrameOfReferenceUID, image.SeriesInstanceUID = "2.25.1", "2.25.2", f"2.25.3{bits}"
    image.Rows = image.Columns = 8
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, bits, bits - 1
    image.PixelData = pack_bits(voxels.ravel()) if bits == 1 else voxels.tobytes()
    return image

folder = f"{sys.argv[1]}/ct"
os.mkdir(folder)
for k, z in enumerate(PLACES):
    image = dataset(CT, 10 + k, np.full((8, 8), 1000, "<u2"), 16)
    image.Modality, image.RescaleSlope, image.RescaleIntercept, image.SliceLocation = "CT", 1, -1000, z
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [1, 1], 5
    image.save_as(f"{folder}/{k}.dcm", enforce_file_format=True)

organ = np.zeros((6, 8, 8), np.uint8)
organ[0, 2, 2:4] = organ[1, 2, 2] = 1
heart = np.zeros((6, 8, 8), np.uint8)
heart[0, 5, 2:5] = 1

def item(**values):
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found

def shown(name, *segments):
    """A SEG of (mask, order of its frames) for each segment -> pixels of each colour on the slices, from the feet up"""
    frames = [(n + 1, z) for n, (_, order) in enumerate(segments) for z in order]
    seg = dataset(SEG, 90, np.stack([segments[n - 1][0][z] for n, z in frames]), 1)
    seg.Modality, seg.SegmentationType, seg.NumberOfFrames = "SEG", "BINARY", len(frames)
    seg.SegmentSequence = [item(SegmentNumber=n + 1, SegmentLabel=f"organ {n + 1}", SegmentAlgorithmType="MANUAL")
                           for n in range(len(segments))]
    seg.SharedFunctionalGroupsSequence = [item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=5, SpacingBetweenSlices=5)])]
    seg.PerFrameFunctionalGroupsSequence = [item(
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=n)],
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, PLACES[z]])]) for n, z in frames]
    seg.save_as(f"{sys.argv[1]}/seg.dcm", enforce_file_format=True)

    viewDicom(folder, f"{sys.argv[1]}/seg.dcm")
    draw = sliders.interactive_output.call_args.args[0]
    pixels = [[] for _ in segments]
    for k in range(6):
        draw(k, 0, 100, **{f"show_organ {n + 1}": True for n in range(len(segments))})
        picture = screen.axes.imshow.call_args.args[0]
        colours = (picture[..., 0] > picture[..., 1] + 0.1, picture[..., 1] > picture[..., 0] + 0.1)
        for n in range(len(segments)):
            pixels[n].append(int((colours[n] if len(segments) > 1 else colours[0] | colours[1]).sum()))
    print(f"{name}: pixels on the slices, lowest first: {pixels}")
    return pixels

up, down = range(6), range(5, -1, -1)
truth = [int(frame.sum()) for frame in organ], [int(frame.sum()) for frame in heart]
assert shown("from the feet up", (organ, up)) == [truth[0]]
assert shown("from the head down", (organ, down)) == [truth[0][::-1]], "frames are put elsewhere"
assert shown("two organs, up and up", (organ, up), (heart, up)) == list(truth)
assert shown("two organs, up and down", (organ, up), (heart, down)) == [truth[0], truth[1][::-1]], "frames elsewhere"
PY
