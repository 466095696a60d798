#!/bin/bash
# med-imagetools 2.16.0 (PyPI, "transparent and reproducible medical image processing pipelines"; SimpleITK 2.5.7,
# pydicom 3.0.2, numpy 2.4.6; CPython 3.11): PET.from_dicom() of a PET series in Bq/ml, corrected for decay to its
# start, with the patient's weight, the dose, its time and half-life: all that an SUV is made of.
#  1. Documentation: "SUV: gets the image with each pixel value having SUV value"; where there is no factor of Philips's
#     own in the file, "backup calculation is done based on the formula". Seen: nothing is calculated, the factor is 1.
#     A voxel of SUV 3.5 is returned as 12000, its Bq/ml, under the name SUV, which is the default, as under ACT; the
#     log says "Calculating based on metadata, may contain errors".
#  2. A voxel below zero, as reconstructions that allow it leave in the background. Seen: all values are made positive,
#     -1000 Bq/ml becomes 1000, silently.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    med-imagetools==2.16.0 simpleitk==2.5.7 pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6 scipy==1.17.1 pandas==3.0.2 \
    scikit-image==0.26.0 pillow==13.0.0 pydantic==2.14.4 pydantic_core==2.50.5 structlog==25.5.0 rich==15.0.0 \
    annotated-types==0.8.0 lazy-loader==0.6 packaging==26.4 python-dateutil==4.0.0 pytz==2026.6 tqdm==4.70.1 \
    typing-inspection==0.4.5 typing_extensions==4.16.0
mkdir "$d/pet" && cd "$d"
PYTHONPATH="$d/p" HOME="$d" python3 -W ignore - "$d/pet" 2> "$d/log" <<'PY' || { cat "$d/log"; exit 1; }
import os, sys
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from imgtools.coretypes.imagetypes.pet import PET, PETImageType

STORAGE = "1.2.840.10008.5.1.4.1.1.128"
WEIGHT, DOSE, HALF_LIFE, WAITED = 80.0, 400e6, 6586.2, 3600.0  # kg, Bq, s, s

for k in range(3):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, STORAGE
    meta.MediaStorageSOPInstanceUID = f"2.25.1{k}"
    image = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = STORAGE, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.2", "2.25.3", "2.25.4"
    image.Modality, image.SeriesNumber, image.InstanceNumber = "PT", 1, k + 1
    image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.PixelSpacing, image.SliceThickness, image.ImageOrientationPatient = [2, 2], 3, [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient, image.RescaleSlope, image.RescaleIntercept = [0, 0, 3 * k], 2, 0
    image.Units, image.CorrectedImage, image.DecayCorrection = "BQML", ["ATTN", "DECY"], "START"
    image.SeriesDate = image.AcquisitionDate = "20200101"
    image.SeriesTime = image.AcquisitionTime = "120000.000"
    image.PatientWeight, tracer = WEIGHT, Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE, HALF_LIFE
    tracer.RadiopharmaceuticalStartTime = "110000.000"
    tracer.RadiopharmaceuticalStartDateTime = "20200101110000.000"
    image.RadiopharmaceuticalInformationSequence = [tracer]
    voxels = np.zeros((4, 5), "<i2")
    voxels[1, 2], voxels[2, 2] = 6000, -500
    image.PixelData = voxels.tobytes()
    image.save_as(f"{sys.argv[1]}/{k}.dcm", enforce_file_format=True)

read = sitk.ReadImage([f"{sys.argv[1]}/{k}.dcm" for k in range(3)])
high, low = (sitk.GetArrayFromImage(read)[1, y, 2] for y in (1, 2))
suv = high * 1000 * WEIGHT / (DOSE * 2 ** (-WAITED / HALF_LIFE))
print(f"by SimpleITK alone {high:g} and {low:g} Bq/ml; SUV of the first by its definition {suv:.2f}")
found = {}
for kind in PETImageType:
    array = sitk.GetArrayFromImage(PET.from_dicom(sys.argv[1], pet_image_type=kind))
    found[kind.value] = array[1, 1, 2], array[1, 2, 2]
    print(f"{kind.value}: {found[kind.value][0]:g} and {found[kind.value][1]:g}")

assert (high, low) == (12000, -1000) and round(suv, 1) == 3.5
assert found == {"SUV": (12000, 1000), "ACT": (12000, 1000)}, "other values"
PY
grep -q "Calculating based on metadata" "$d/log"
