#!/bin/bash
# dicom-csv 0.5.1 (PyPI; pydicom 3.0.2, pandas 2.3.3, scikit-image 0.26.0, nibabel 5.4.2, numpy 2.2.6; CPython 3.11):
# "load 3D image from a series of dicom files", contours to masks, and a series to NIfTI.
#  1. stack_images(). A voxel's value is stored number x Rescale Slope + Rescale Intercept (DICOM PS3.3 C.11.1.1.2).
#     Slope and intercept are cast to the smallest type of NumPy that holds them, which for a slope with a fraction is a
#     float of 16 bits. Seen: a parametric map with slope 1e-6 is 1.3 % too large everywhere, with 1e-8 it is all 0, and
#     PET values are off by up to 0.05 %. With a whole slope the product stays in the stored type: 30000 x 3 is 24464.
#     So may a sum: a signed CT's padding of -32768 outside the circle becomes 31744 HU with intercept -1024.
#  2. contours_to_image() and get_mask(). By PS3.3 10.7.1.3 the first value of Pixel Spacing is the distance of rows.
#     Seen: steps along a row are divided by it, and those along a column by the second. With pixels of 2 x 0.5 mm a
#     structure in rows 5 to 9 and columns 10 to 20 is put in rows 19 to 37 and columns 3 to 5.
#  3. The same, a contour that crosses or passes the picture's edge, as on a planning CT with a small field. Expected:
#     what lies inside. Seen: negative coordinates lose their sign, and the structure is mirrored into the picture.
#  4. The same, coronal slices: the mask is empty. Axial and sagittal ones are right.
#  5. dicom_csv.aggregation.get_nifti(). NIfTI's x is to the right and y to the front, DICOM's to the left and the back;
#     the array's axes are row, column and slice, slices from the head down. Seen: the signs are kept, the first axis
#     runs to the side and the second to the back, and slices are placed from the head up: voxels are 14 to 74 mm off.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    dicom-csv==0.5.1 pydicom==3.0.2 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0 tqdm==4.70.1 \
    pandas==2.3.3 python-dateutil==2.9.0.post0 six==1.17.0 pytz==2026.2 tzdata==2026.2 \
    scikit-image==0.26.0 scipy==1.17.1 lazy-loader==0.6
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import numpy as np
from dicom_csv import stack_images
from dicom_csv.aggregation import get_nifti
from dicom_csv.rtstruct import contours_to_image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

def item(**fields):
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset

def image(voxels, **fields):
    dataset = item(Rows=voxels.shape[0], Columns=voxels.shape[1], SamplesPerPixel=1, BitsAllocated=16, BitsStored=16,
                   HighBit=15, PixelRepresentation=int(voxels.min() < 0), PhotometricInterpretation="MONOCHROME2",
                   PixelData=voxels.astype("<i2" if voxels.min() < 0 else "<u2").tobytes(), **fields)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset

cases = [("PET", [0, 1000, 32000], "0.3051", "0", [0, 305.1, 9763.2]),
         ("map, 1e-6", [0, 1000, 3000], "1e-6", "0", [0, 0.001, 0.003]),
         ("map, 1e-8", [0, 1000, 3000], "1e-8", "0", [0, 1e-5, 3e-5]),
         ("whole slope", [0, 1000, 30000], "3", "0", [0, 3000, 90000]),
         ("signed CT", [-32768, 24, 1024], "1", "-1024", [-33792, -1000, 0])]
seen = {}
for name, stored, slope, intercept, want in cases:
    slices = [image(np.array([stored]), RescaleSlope=slope, RescaleIntercept=intercept) for _ in range(2)]
    seen[name] = stack_images(slices)[0, :, 0].astype(float)
    print(f"{name}: {stored} should be {want}, is {[float(f'{x:.6g}') for x in seen[name]]}")
assert np.allclose(seen["PET"][1:] / [305.1, 9763.2], float(np.float16(0.3051)) / 0.3051), "broken slopes changed"
assert 1e-4 < abs(seen["PET"][2] / 9763.2 - 1) < 5e-4
assert np.allclose(seen["map, 1e-6"][1:] / [0.001, 0.003], 1.0133, atol=1e-4) and not seen["map, 1e-8"].any()
assert seen["whole slope"].tolist() == [0, 3000, 24464], "whole slopes changed"
assert seen["signed CT"].tolist() == [31744, -1000, 0], "intercepts changed"

rows, columns, corner = 40, 60, np.array([-20, -30, 50.])
numbers = np.arange(4 * rows * columns).reshape(4, rows, columns)

def scan(right=(1, 0, 0), down=(0, 1, 0), spacing=(1, 1)):
    """-> four slices and the place of row r, column c of slice k"""
    normal = np.cross(right, down)
    place = lambda k, r, c: (corner + np.multiply.outer(c, np.array(right) * spacing[1])
                             + np.multiply.outer(r, np.array(down) * spacing[0]) + np.multiply.outer(k, normal * 3))
    return [image(numbers[k], ImageOrientationPatient=[*right, *down], PixelSpacing=list(spacing), InstanceNumber=k + 1,
                  ImagePositionPatient=place(k, 0, 0).tolist(), SOPInstanceUID=f"1.2.3.{k}") for k in range(4)], place

def box(name, first, last, **kind):
    """-> first and last row and column of the mask of a box, whose edges are a quarter voxel outside of its voxels"""
    slices, place = scan(**kind)
    r, c = np.array(first) - 0.25, np.array(last) + 0.25
    corners = [place(1, *p) for p in ((r[0], r[1]), (r[0], c[1]), (c[0], c[1]), (c[0], r[1]))]
    contour = item(ContourImageSequence=[item(ReferencedSOPInstanceUID="1.2.3.1")],
                   ContourData=np.ravel(corners).tolist())
    series = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID="1.2")])
    structures = item(ReferencedFrameOfReferenceSequence=[item(RTReferencedStudySequence=[series])],
                      StructureSetROISequence=[item(ROIName="liver")],
                      ROIContourSequence=[item(ContourSequence=[contour])])
    mask = next(iter(contours_to_image(slices, structures).values())).get_mask().any(2)
    found = np.argwhere(mask)
    seen = (found.min(0).tolist(), found.max(0).tolist()) if len(found) else None
    want = np.zeros((rows, columns), bool)
    want[max(first[0], 0):last[0] + 1, max(first[1], 0):max(last[1] + 1, 0)] = True
    print(f"{name}: rows and columns {first} to {last}, {want.sum()} of them in the picture;",
          f"{f'{mask.sum()} are found, {seen[0]} to {seen[1]}' if seen else 'none are found'}")
    return seen

whole = ([5, 10], [9, 20])
coronal = dict(right=(1, 0, 0), down=(0, 0, -1))
assert box("axial", *whole) == box("sagittal", *whole, right=(0, 1, 0), down=(0, 0, -1)) == whole
assert box("pixels of 2 x 0.5 mm", *whole, spacing=(2, 0.5)) == ([19, 3], [37, 5]), "the order of spacings changed"
assert box("across the edge", [5, -10], [9, 5]) == ([5, 6], [9, 10]), "contours across the edge changed"
assert box("past the edge", [5, -20], [9, -10]) == ([5, 10], [9, 20]), "contours past the edge changed"
assert box("coronal", *whole, **coronal) is None, "coronal contours changed"

slices, place = scan()
volume = get_nifti(slices)
order = np.asarray(volume.dataobj).ravel()
k, r, c = np.unravel_index(order, numbers.shape)
want = place(k, r, c) * [-1, -1, 1]
seen = np.argwhere(np.ones(volume.shape)) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
wrong = np.linalg.norm(seen - want, axis=1)
print(f"get_nifti: voxels are {wrong.min():.1f} to {wrong.max():.1f} mm from their places; affine",
      volume.affine.tolist())
assert np.allclose(volume.affine, [[1, 0, 0, -20], [0, 1, 0, -30], [0, 0, 3, 59], [0, 0, 0, 1]]), "the affine changed"
assert wrong.min() > 14 and 74 < wrong.max() < 75 and volume.shape == (rows, columns, 4)
PY
