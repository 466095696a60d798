#!/bin/bash
# dicompyler-core 0.5.6 (PyPI; with pydicom 2.4.5, since it does not start with pydicom 3; numpy 2.2.6; CPython 3.11):
# dvhcalc.get_dvh of a cube in three RT Dose objects. DICOM PS3.3 C.8.8.3.2 on the planes of a dose: the offsets "shall
# vary monotonically" (nothing asks for even steps), and (b) if the first one equals the z of Image Position (Patient)
# and the orientation is 1,0,0,0,1,0, they are absolute places.
#  1. Planes at 0, 1, 10 and 20 mm with 10, 20, 20 and 60 Gy, structure at z 4 mm: between two planes of 20 Gy.
#     Expected 20 Gy. Seen: 50 Gy. The two nearest planes are taken (0 and 1), both on the same side, and their line is
#     drawn on to 4 mm. (Without the plane of 60 Gy the 50 lie beyond the histogram and the volume is 0.)
#  2. Planes 12, 15, 18, 21 as absolute places (option b), structure at the same. Expected: as with offsets 0, 3, 6, 9.
#     Seen: numpy MaskError "data size is 0": the z is added once more and no plane is found.
#  3. interpolation_segments_between_planes=2, "number of segments to interpolate between structure slices", on a
#     structure of four slices, 3 mm apart. Expected: the volume stays 1.2 cm3. Seen: 1.0 cm3, as ten planes get 1 mm
#     each and the halves of the first and last slice are lost.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    dicompyler-core==0.5.6 pydicom==2.4.5 numpy==2.2.6 matplotlib==3.11.2 contourpy==1.3.3 cycler==0.12.1 \
    fonttools==4.68.0 kiwisolver==1.5.1 packaging==26.4 pillow==13.0.0 pyparsing==3.3.3 python-dateutil==4.0.0 \
    six==1.17.0
PYTHONPATH="$d/p" MPLCONFIGDIR="$d" python3 -W ignore - <<'PY'
import logging
import numpy as np
from dicompylercore import dvhcalc
from pydicom.dataset import Dataset, FileMetaDataset

logging.disable(logging.CRITICAL)

def dataset(**values):
    result = Dataset()
    result.is_little_endian, result.is_implicit_VR = True, False
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    for name, value in values.items():
        setattr(result, name, value)
    return result

def dose(offsets, z, gray):
    planes = np.stack([np.full((40, 40), round(g * 100), "<u4") for g in gray])
    return dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2", SOPInstanceUID="1.2.3", Modality="RTDOSE", Rows=40, Columns=40,
        PixelSpacing=[1, 1], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, z],
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=32, BitsStored=32, HighBit=31,
        PixelRepresentation=0, NumberOfFrames=len(gray), GridFrameOffsetVector=offsets,
        FrameIncrementPointer=0x3004000C, DoseUnits="GY", DoseType="PHYSICAL", DoseSummationType="PLAN",
        DoseGridScaling=0.01, PixelData=planes.tobytes())

def structure(*places):  # 10 x 10 mm on each slice
    square = [(9.5, 9.5), (19.5, 9.5), (19.5, 19.5), (9.5, 19.5)]
    contours = [dataset(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4,
                        ContourData=[v for x, y in square for v in (x, y, z)]) for z in places]
    return dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", SOPInstanceUID="1.2.4", Modality="RTSTRUCT",
        StructureSetLabel="made",
        StructureSetROISequence=[dataset(ROINumber=1, ROIName="cube", ROIGenerationAlgorithm="MANUAL")],
        ROIContourSequence=[dataset(ReferencedROINumber=1, ContourSequence=contours)],
        RTROIObservationsSequence=[dataset(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN")])

def show(name, *arguments, **options):
    histogram = dvhcalc.get_dvh(*arguments, 1, **options)
    print(f"{name}: {histogram.volume:.3f} cm3, mean {histogram.mean:.2f} Gy")
    return float(histogram.volume), float(histogram.mean)

four, gray = structure(12, 15, 18, 21), [10, 20, 30, 40]
volume, mean = show("offsets 0, 3, 6, 9", four, dose([0, 3, 6, 9], 12, gray))
assert abs(volume - 1.2) < 1e-6 and abs(mean - 25) < 0.02
_, mean = show("uneven planes (should be 20 Gy)", structure(4), dose([0, 1, 10, 20], 0, [10, 20, 20, 60]),
               thickness=1)
assert abs(mean - 50) < 0.02, "uneven planes changed"
try:
    show("absolute places", four, dose([12, 15, 18, 21], 12, gray))
    raise AssertionError("absolute places are read now")
except np.ma.MaskError as error:
    print("absolute places:", error)
volume, _ = show("segments between slices", four, dose([0, 3, 6, 9], 12, gray), interpolation_segments_between_planes=2)
assert abs(volume - 1.0) < 1e-6, "interpolated volume changed"
PY
