#!/bin/bash
# brkraw 0.5.7 against brukerapi 0.4.6 (PyPI; nibabel 5.4.2, numpy 2.2.6; CPython 3.11): a Bruker ParaVision image.
# A 2dseq file holds frames; VisuCoreDataSlope and VisuCoreDataOffs hold a number for each of them, since ParaVision
# scales every frame of whole numbers to its own range, and a fit has frames of different meaning (FG_ISA).
#  1. Three slices of a signal (slope 1, offset 0) and of a relaxation time (slope 0.25, offset 100).
#     Expected in the NIfTI file: stored number times the frame's slope, plus its offset. brukerapi does so.
#     Seen: the first frame's slope and offset for all frames. A time of 115 ms is written as 60. The code knows ("has
#     multiple values; using first element") and says it only to the debug log.
#  2. Slices 0.5 mm thick with a gap of 0.3 mm: PVM_SPackArrSliceDistance is 0.8, from centre to centre, and
#     VisuCorePosition goes up by 0.8. Seen: 1.1 mm, as the gap is added once more (its issue 227, open: with a gap of
#     minus half the thickness the axis has length 0).
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    brkraw==0.5.7 brukerapi==0.4.6 nibabel==5.4.2 numpy==2.2.6 pyyaml==6.0.3 packaging==26.4 typing-extensions==4.16.0
export HOME="$d"
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
from pathlib import Path
from unittest.mock import MagicMock

sys.modules["jsonschema"] = MagicMock()  # checks the package's own rule files; not needed to convert

import brkraw
import nibabel
import numpy as np
from brukerapi.dataset import Dataset

def parameters(path, **fields):
    """Writes a JCAMP-DX file; a tuple is an array: its sizes, then its values."""
    lines = ["##TITLE=Parameter List, ParaVision 6.0.1", "##JCAMPDX=4.24", "##DATATYPE=Parameter Values"]
    for name, value in fields.items():
        lines.append(f"##${name}=( {value[0]} )\n{value[1]}" if isinstance(value, tuple) else f"##${name}={value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "##END=\n"]))

thickness, gap = 0.5, 0.3
scan = Path(sys.argv[1]) / "study/1"
reco = scan / "pdata/1"
parameters(scan.parent / "subject", SUBJECT_id=(60, "<phantom>"))
parameters(scan / "method", PVM_NSPacks=1, PVM_SPackArrNSlices=(1, 3), PVM_SPackArrSliceOrient=(1, "axial"),
           PVM_SliceThick=thickness, PVM_SPackArrSliceGap=(1, gap), PVM_SPackArrSliceDistance=(1, thickness + gap))
parameters(scan / "acqp", ACQ_sw_version=(65, "<PV 6.0.1>"), ACQ_scaling_phase=1)
parameters(reco / "reco", RECO_mode="FILTER")
parameters(reco / "visu_pars", VisuVersion=3, VisuCreatorVersion=(65, "<6.0.1>"), VisuCoreFrameCount=6, VisuCoreDim=2,
           VisuCoreSize=(2, "4 5"), VisuCoreDimDesc=(2, "spatial spatial"), VisuCoreExtent=(2, "4 5"),
           VisuCoreFrameThickness=(1, thickness), VisuCoreUnits=("2, 65", "<mm> <mm>"),
           VisuCoreOrientation=("3, 9", " ".join(3 * ["1 0 0 0 1 0 0 0 1"])),
           VisuCorePosition=("3, 3", " ".join(f"-2 -2.5 {k * (thickness + gap):g}" for k in range(3))),
           VisuCoreDataSlope=(6, "1 1 1 0.25 0.25 0.25"), VisuCoreDataOffs=(6, "0 0 0 100 100 100"),
           VisuCoreFrameType="MAGNITUDE_IMAGE", VisuCoreWordType="_16BIT_SGN_INT", VisuCoreByteOrder="littleEndian",
           VisuFGOrderDescDim=2, VisuFGOrderDesc=(2, "(3, <FG_SLICE>, <>, 0, 2) (2, <FG_ISA>, <T1 map>, 2, 0)"),
           VisuGroupDepVals=(2, "(<VisuCoreOrientation>, 0) (<VisuCorePosition>, 0)"),
           VisuSubjectType="Phantom", VisuSubjectPosition="Head_Supine", VisuAcqScanTime=1000)
stored = np.arange(120, dtype="<i2")
(reco / "2dseq").write_bytes(stored.tobytes())
frames = stored.reshape(4, 5, 3, 2, order="F")
want = frames * np.array([1, 0.25]) + np.array([0, 100])

path = f"{sys.argv[1]}/out.nii"
nibabel.save(brkraw.load(scan.parent).convert(1, reco_id=1), path)
image = nibabel.load(path)
seen = image.get_fdata()
other = Dataset(reco / "2dseq")
print("signal and time of the first voxel: should be", want[0, 0, 0], "brkraw", seen[0, 0, 0],
      "brukerapi", other.data[0, 0, 0])
distance = float(np.linalg.norm(image.affine[:3, 2]))
print(f"distance of the slices: should be {thickness + gap}, brkraw {distance:.3f}")
assert np.array_equal(np.squeeze(other.data), want)
assert np.array_equal(seen[..., 0], want[..., 0])
assert np.array_equal(seen[..., 1], frames[..., 1]), "the frames' own slopes are used now"
assert np.isclose(distance, thickness + 2 * gap), "the gap is added once now"
PY
