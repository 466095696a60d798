#!/bin/bash
# mirp 2.7.0 (PyPI, radiomics by the IBSI's definitions; pydicom 3.0.2, pandas 3.1.1, scipy 1.17.1, numpy 2.4.6;
# CPython 3.11): a CT series with an RT Structure Set, read by extract_image_parameters() and extract_features().
# Input: six slices, 3 mm apart, with a box drawn into slices 1 to 3, over rows 5 to 9 and columns 10 to 20: 165 voxels.
#  1. Pixel Spacing 2\0.5. By DICOM PS3.3 10.7.1.3 the first value is the distance of rows, y in an axial slice.
#     Seen: spacing_y 0.5, spacing_x 2. Contours are turned into voxels by it and land elsewhere, in rows 20 to 29 and
#     columns 3 to 5, where the picture's edge cuts them: 90 voxels, 270 mm3 instead of 495. The same in an RT Dose.
#     With equal numbers, as usual, all is right.
#  2. A gantry tilted by 20 degrees: each slice lies at its own Image Position (Patient) (PS3.3 C.7.6.2.1.1), shifted
#     along y. Expected: the same 165 voxels, 465 mm3, since every contour names its slice and lies in it, or an
#     exception. Seen: slices are taken for a straight stack, 3 mm apart, so the third contour is outside and the first
#     two are shifted: 88 voxels, 264 mm3.
#  3. Sagittal slices, whose z is the same but for the last digit written. Seen: slices are sorted by z first, so this
#     digit decides which one is the outermost. The origin is that of slice 1, and the mask lies one slice beside the
#     structure. A warning speaks of missing slices; none is. With equal z it is right.
# Nothing is said in 1 and 2.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    mirp==2.7.0 pydicom==3.0.2 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 python-dateutil==4.0.0 pywavelets==1.9.0 \
    scikit-image==0.26.0 lazy-loader==0.6 packaging==26.4
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import logging, os, sys
from unittest.mock import MagicMock

# For other file formats and for plots, which are not used here.
sys.modules.update((name, MagicMock()) for name in ("itk", "matplotlib", "matplotlib.pyplot", "matplotlib.colors"))

import numpy as np
from mirp import extract_features, extract_image_parameters, extract_images
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

logging.disable(logging.INFO)  # "Initialising image extraction" and the like

rows, columns, corner = 30, 40, np.array([-20, -30, 10.])

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset

def save(path, storage, uid, **fields):
    dataset = item(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{storage}", SOPInstanceUID=uid, StudyInstanceUID="1.2.3",
                   FrameOfReferenceUID="1.2.5", PatientID="A", PatientName="A", **fields)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path, enforce_file_format=True)

def pixels(voxels):
    return dict(Rows=rows, Columns=columns, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
                BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
                PixelData=voxels.astype("<u2").tobytes())

def measure(name, spacing=(1, 1), right=(1, 0, 0), down=(0, 1, 0), step=(0, 0, 1), digits=(0,) * 6):
    """-> spacing, the mask's voxels, first and last of them, and its volume"""
    folder, structures = f"{sys.argv[1]}/{name}", f"{sys.argv[1]}/{name}.dcm"
    os.mkdir(folder)
    right, down, contours = np.array(right), np.array(down), []
    for k in range(6):
        place = corner + 3 * k * np.array(step) + [0, 0, digits[k]]
        save(f"{folder}/{k}.dcm", "2", f"1.2.4.{k}", SeriesInstanceUID="1.2.4", Modality="CT", InstanceNumber=k + 1,
             ImagePositionPatient=place.round(6).tolist(), ImageOrientationPatient=[*right.tolist(), *down.tolist()],
             PixelSpacing=list(spacing), SliceThickness=3, RescaleSlope=1, RescaleIntercept=-1024,
             **pixels(np.full((rows, columns), 1000 + k)))
        if 1 <= k <= 3:
            box = [place + down * spacing[0] * r + right * spacing[1] * c
                   for r, c in ((4.75, 9.75), (4.75, 20.25), (9.25, 20.25), (9.25, 9.75))]
            contours.append(item(ContourImageSequence=[item(ReferencedSOPInstanceUID=f"1.2.4.{k}")],
                                 ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4,
                                 ContourData=np.round(box, 6).ravel().tolist()))
    save(structures, "481.3", "1.2.6", SeriesInstanceUID="1.2.7", Modality="RTSTRUCT",
         StructureSetROISequence=[item(ROINumber=1, ROIName="liver", ReferencedFrameOfReferenceUID="1.2.5")],
         ROIContourSequence=[item(ReferencedROINumber=1, ContourSequence=contours)])
    given = extract_image_parameters(image=folder).iloc[0]
    distances = [float(given[f"spacing_{axis}"]) for axis in "zyx"]
    (images, masks), = extract_images(image=folder, mask=structures, image_export_format="dict")
    found = np.argwhere(masks[0]["mask"])
    where = np.unique(images[0]["image"][masks[0]["mask"] > 0]) + 24  # slice k is filled with k - 24 HU
    features = extract_features(image=folder, mask=structures, base_feature_families="morphology")[0]
    volume = round(float(features["morph_vol_approx"].iloc[0]), 1)
    print(f"{name}: spacing z, y, x {distances}; {len(found)} voxels, {found.min(0).tolist()} to",
          f"{found.max(0).tolist()}, in slices {where.round(3).tolist()}; {volume} mm3")
    return distances, len(found), found.min(0).tolist(), found.max(0).tolist(), where.round(3).tolist(), volume

box = (165, [1, 5, 10], [3, 9, 20], [1, 2, 3], 495)
sagittal = dict(right=(0, 1, 0), down=(0, 0, -1), step=(-1, 0, 0))
assert measure("square") == ([3, 1, 1], *box) == measure("sagittal", **sagittal)
print("oblong: should be [3.0, 2.0, 0.5] and the same voxels and volume")
assert measure("oblong", spacing=(2, 0.5)) == ([3, 0.5, 2], 90, [1, 20, 3], [3, 29, 5], [1, 2, 3], 270), \
    "the order of Pixel Spacing changed"
angle = np.radians(20)
print(f"tilted: should be the same voxels, {165 * 3 * np.cos(angle):.1f} mm3")
assert measure("tilted", step=(0, np.sin(angle), np.cos(angle))) == (
    [3, 1, 1], 88, [1, 7, 10], [2, 11, 20], [1, 2], 264), "tilted slices changed"
print("digits: should be the same voxels, slices and volume")
assert measure("digits", **sagittal, digits=(0, 1e-4, -1e-4, 0, 1e-4, -1e-4)) == (
    [3, 1, 1], 165, [0, 5, 10], [2, 9, 20], [0, 1, 2], 495), "the order of slices changed"

path = f"{sys.argv[1]}/dose.dcm"
save(path, "481.2", "1.2.8", SeriesInstanceUID="1.2.9", Modality="RTDOSE", ImagePositionPatient=corner.tolist(),
     ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[2, 0.5], NumberOfFrames=2, GridFrameOffsetVector=[0, 3],
     FrameIncrementPointer=0x3004000C, DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN",
     DoseGridScaling=0.001, **pixels(np.ones((2, rows, columns))))
given = extract_image_parameters(image=path).iloc[0]
distances = [float(given[f"spacing_{axis}"]) for axis in "zyx"]
print("dose: spacing z, y, x should be [3.0, 2.0, 0.5], is", distances)
assert distances == [3, 0.5, 2], "the order in a dose changed"
PY
