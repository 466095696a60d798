#!/bin/bash
# pyvoxel 0.1.0 (PyPI; with pydicom 2.4.5, since it calls what pydicom 3 removed; nibabel 5.4.2, numpy 1.26.4;
# CPython 3.11): the affine that vx.load() gives a DICOM image and vx.save() writes to NIfTI, "preserving spatial
# attributes". Where a voxel is, says DICOM PS3.3 C.7.6.2.1.1.
#  1. MR slices with Pixel Spacing 2\0.5, 80 columns and 50 rows. By PS3.3 10.7.1.3 the first value is the distance of
#     the rows, the second that of the columns. Seen: the other way round, 158 mm wide and 24.5 mm high instead of 39.5
#     and 98, voxels up to 139 mm from their places. With equal numbers, as usual, all is right. (dosma 0.1.2, its
#     forerunner, has the same lines.)
#  2. An Enhanced MR image of six frames, 3 mm apart; it looks up place, orientation and spacing in the functional
#     groups, so such files are meant to be read. Seen in the affine: Slice Thickness divided by the number of frames,
#     0.5 mm, whatever the places of the frames are: the second one's is asked for, and the first one's is found.
#     Further, the array is frames x rows x columns x 1, and the affine one of rows x columns x frames: frames go from
#     front to back, rows from right to left and columns from feet to head.
# Nothing is said in either case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pyvoxel==0.1.0 pydicom==2.4.5 nibabel==5.4.2 numpy==1.26.4 packaging==26.4 typing-extensions==4.16.0 \
    natsort==8.4.0 tqdm==4.70.1 pyyaml==6.0.3 tabulate==0.10.0
export HOME="$d"
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import os, sys
from unittest.mock import MagicMock

sys.modules.update((name, MagicMock()) for name in ("requests", "termcolor"))  # for servers and for colours in the log

import nibabel
import numpy as np
import voxel as vx
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return [dataset]

def save(path, voxels, storage, uid, **fields):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ExplicitVRLittleEndian, storage, uid)
    image = FileDataset(path, item(**fields)[0], file_meta=meta, preamble=bytes(128))
    image.is_little_endian, image.is_implicit_VR = True, False
    image.SOPClassUID, image.SOPInstanceUID, image.PhotometricInterpretation = storage, uid, "MONOCHROME2"
    image.Rows, image.Columns, image.SamplesPerPixel = *voxels.shape[-2:], 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = voxels.astype("<u2").tobytes()
    image.save_as(path, write_like_original=False)

def places(name, spacing):
    """-> where pyvoxel and DICOM put each voxel, in order of its number, in the patient's coordinates (LPS)"""
    vx.save(vx.load(f"{sys.argv[1]}/{name}"), f"{sys.argv[1]}/seen.nii")
    image = nibabel.load(f"{sys.argv[1]}/seen.nii")
    numbers = np.asarray(image.dataobj)
    axes = np.argwhere(numbers >= 0)[np.argsort(numbers.ravel())]
    seen = axes[:, :3] @ image.affine[:3, :3].T + image.affine[:3, 3]
    frame, row, column = np.indices(voxels.shape).reshape(3, -1)
    want = np.stack([first[0] + spacing[1] * column, first[1] + spacing[0] * row, first[2] + 3 * frame], 1)
    seen[:, :2] *= -1
    size = lambda points: (points.max(0) - points.min(0)).round(3).tolist()
    print(f"{name}: array {numbers.shape}; from the first to the last voxel in x, y, z {size(want)} mm should be,",
          f"{size(seen)} are; voxels up to {np.linalg.norm(seen - want, axis=1).max():.1f} mm from their places")
    return numbers.shape, size(seen), size(want)

voxels, first = np.arange(6 * 50 * 80).reshape(6, 50, 80), (-20, -50, 0)
flat = dict(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
for name, spacing in (("square", (0.5, 0.5)), ("oblong", (2, 0.5))):
    os.mkdir(f"{sys.argv[1]}/{name}")
    for k in range(6):
        save(f"{sys.argv[1]}/{name}/{k}.dcm", voxels[k], "1.2.840.10008.5.1.4.1.1.4", f"1.2.3.{k}", SliceThickness=3,
             PixelSpacing=list(spacing), ImagePositionPatient=[*first[:2], first[2] + 3 * k], **flat)
shape, seen, want = places("square", (0.5, 0.5))
assert shape == (50, 80, 6) and seen == want
shape, seen, want = places("oblong", (2, 0.5))
assert shape == (50, 80, 6) and want == [39.5, 98, 15] and seen == [158, 24.5, 15], "the order of Pixel Spacing changed"

frames = [item(PlanePositionSequence=item(ImagePositionPatient=[*first[:2], first[2] + 3 * k]))[0] for k in range(6)]
measures = item(PixelSpacing=[0.5, 0.5], SliceThickness=3, SpacingBetweenSlices=3)
save(f"{sys.argv[1]}/enhanced.dcm", voxels, "1.2.840.10008.5.1.4.1.1.4.1", "1.2.3.9", NumberOfFrames=6,
     SharedFunctionalGroupsSequence=item(PixelMeasuresSequence=measures, PlaneOrientationSequence=item(**flat)),
     PerFrameFunctionalGroupsSequence=frames)
step = np.linalg.norm(vx.load(f"{sys.argv[1]}/enhanced.dcm").affine[:3, 2])
print(f"enhanced: frames should be 3 mm apart, are {step} mm apart by the affine")
assert step == 0.5, "the step between frames changed"
shape, seen, want = places("enhanced.dcm", (0.5, 0.5))
assert shape == (6, 50, 80, 1) and want == [39.5, 24.5, 15] and seen == [24.5, 2.5, 39.5], "the axes changed"
PY
