#!/bin/bash
# dicom2nifti 2.6.2 (PyPI; pydicom 3.0.2, nibabel 5.4.2, numpy 2.2.6; CPython 3.11): an Enhanced CT of eight frames.
#  1. Pixel Value Transformation (slope 1, intercept -1024) in the Shared Functional Groups, the place in DICOM
#     PS3.3 C.7.6.16 for what is the same in all frames. dicom2nifti scales the voxels itself and writes a header
#     without scaling (its issue 87). Seen: the stored numbers; only the groups of the single frames are looked at.
#     There the same scaling is applied.
#  2. The frames stored from head to foot, while In-Stack Position Number (C.7.6.16.2.2, "ordinal number of a frame in
#     a group of frames with the same Stack ID") counts from foot to head; no rule ties it to the order in the file.
#     Seen: the voxels are sorted by that number, and the matrix is made from the first and the last frame of the file.
#     So every slice gets the place of its mirror image: the head lies where the feet are.
# Nothing is said in either case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    dicom2nifti==2.6.2 pydicom==3.0.2 nibabel==5.4.2 numpy==2.2.6 scipy==1.17.1 packaging==26.4 \
    typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import nibabel
import numpy as np
from dicom2nifti.convert_dicom import dicom_array_to_nifti
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return [dataset]

def enhanced(numbers, shared_scale):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.2.1"
    ct = FileDataset("ct", {}, file_meta=meta, preamble=bytes(128))
    ct.SOPClassUID, ct.SOPInstanceUID, ct.SeriesInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4", "1.2.3"
    ct.Modality, ct.Manufacturer, ct.InstanceNumber = "CT", "none", 1
    ct.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ct.Rows, ct.Columns, ct.NumberOfFrames, ct.SamplesPerPixel = 3, 4, len(numbers), 1
    ct.PhotometricInterpretation, ct.PixelRepresentation = "MONOCHROME2", 1
    ct.BitsAllocated = ct.BitsStored = 16
    ct.HighBit = 15
    scale = item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")
    ct.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.5], SliceThickness=2),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    ct.PerFrameFunctionalGroupsSequence = [item(
        FrameContentSequence=item(StackID="1", InStackPositionNumber=n, DimensionIndexValues=[1, n]),
        PlanePositionSequence=item(ImagePositionPatient=[10, 20, 2 * n]))[0] for n in numbers]
    for group in ct.SharedFunctionalGroupsSequence if shared_scale else ct.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence = scale
    # A voxel of air, and else 100 times the frame's number, which is its height in steps of 2 mm.
    ct.PixelData = np.concatenate([np.array([0] + 11 * [100 * n], "<i2") for n in numbers]).tobytes()
    path = f"{sys.argv[1]}/ct.nii"
    dicom_array_to_nifti([ct], path, reorient_nifti=False)
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)[3, 2]
    heights = [(image.affine @ [0, 0, k, 1])[2] for k in range(len(values))]
    return {float(z): float(v) for z, v in sorted(zip(heights, values))}

up, down = range(1, 9), range(8, 0, -1)
want = {2.0 * n: 100.0 * n - 1024 for n in up}
stored = {2.0 * n: 100.0 * n for n in up}
print("should be, at z in mm:      ", want)
plain = enhanced(up, shared_scale=False)
print("scaled per frame, upwards:  ", plain)
shared = enhanced(up, shared_scale=True)
print("scaled in the shared groups:", shared)
turned = enhanced(down, shared_scale=False)
print("scaled per frame, downwards:", turned)
assert plain == want
assert shared == stored, "the shared groups are read now"
assert turned == {z: want[18 - z] for z in want}, "the order of the frames is followed now"
PY
