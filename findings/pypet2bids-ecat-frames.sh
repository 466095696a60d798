#!/bin/bash
# pypet2bids 1.6.0 (PyPI, PET2BIDS; nibabel 5.4.2, numpy 2.2.6; CPython 3.11): a dynamic PET scan in an ECAT 7.2 file.
# By the format a frame has a Scale Factor of its own, since its voxels are 16-bit numbers of its own range; the main
# header has one ECAT Calibration Factor. Activity is voxel x frame's scale x calibration, as nibabel's reader has it.
# Input: two frames, 60 s before the tracer arrives (up to 8 Bq/ml) and 300 s after (up to 82,000 Bq/ml).
#  1. ecat2nii(). Expected: each frame as exact as it is in the file, since the NIfTI file is of 32-bit floats, slope 1.
#     Seen: all frames rounded to the step that suits the brightest, its maximum / 32767. The first frame's 708
#     different values have become four (0, 2.5, 5 and 7.5 Bq/ml), in a file that looks as if it were exact.
#  2. read_ecat(calibrated=True), "will scale the raw imaging data". Seen: scaled, then cast to the file's 16 bits:
#     2.7 is 2, and 43,480 Bq/ml is -22,056.
#  3. ecat2nii(sif_out=True), the times for a kinetic model. A .sif (Turku PET Centre) holds seconds; the file holds
#     milliseconds, which read_ecat() makes seconds (0 and 60). Seen: 3600 and 21600 for the ends of 60 and 360 s. They
#     are multiplied by 60 once more ("scale to per minute"), so a scan of 6 minutes lasts 6 hours.
#  4. The same bytes with Patient Orientation 3 (head first, supine) and 1 (head first, prone). Between the two lies
#     half a turn, and NIfTI's x is to the patient's right (nifti1.h), so x and y must change sign. Seen: the same
#     voxels and places, so left is right in one of the two. The field is read and not used.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pypet2bids==1.6.0 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import logging, struct, sys
from unittest.mock import MagicMock

# For spreadsheets and settings, which are not used here.
sys.modules.update((name, MagicMock()) for name in ("pandas", "toml", "dotenv"))

import nibabel
import numpy as np
from nibabel import ecat
from pypet2bids.ecat2nii import ecat2nii
from pypet2bids.read_ecat import read_ecat

logging.disable(logging.INFO)  # "Reading subheader from frame 1" and the like

calibration, scales, seconds = 2.5, (1e-4, 1.0), (60, 300)
random = np.random.default_rng(0)
frames = [random.integers(0, 32767, (8, 9, 10)).astype(">i2") for _ in scales]

def block(fields):
    data = bytearray(512)
    for offset, (kind, *values) in fields.items():
        struct.pack_into(">" + kind, data, offset, *values)
    return bytes(data)

def scan(path, orientation):
    x, y, z = frames[0].shape
    main = block({0: ("14s", b"MATRIX72v"), 46: ("H", 72), 50: ("H", 7), 62: ("i", 1767614400), 144: ("f", calibration),
                  148: ("H", 1), 330: ("H", orientation), 352: ("HH", z, 2)})  # file type 7: a volume of 16 bits
    directory, body, position, start = [29, 2, 0, 2], b"", 3, 0
    for i, frame in enumerate(frames):
        voxels = frame.tobytes(order="F")
        voxels += bytes(-len(voxels) % 512)
        directory += [0x1010001 + i, position, position + len(voxels) // 512, 1]
        body += block({0: ("HHHHH", 6, 3, x, y, z), 26: ("f", scales[i]), 34: ("fff", 0.2, 0.2, 0.3),
                       46: ("ii", 1000 * seconds[i], 1000 * start), 80: ("f", 1)}) + voxels
        position, start = position + 1 + len(voxels) // 512, start + seconds[i]
    with open(path, "wb") as file:
        file.write(main + struct.pack(">128i", *directory, *[0] * (128 - len(directory))) + body)
    return path

path = scan(f"{sys.argv[1]}/pet.v", 3)
want = np.stack([frame * np.float32(scale).item() * calibration for frame, scale in zip(frames, scales)], -1)
want = want[::-1, ::-1, ::-1]  # both readers turn all three axes
assert np.allclose(ecat.load(path).get_fdata(), want, rtol=1e-6)

ecat2nii(ecat_file=path, nifti_file=f"{sys.argv[1]}/pet.nii", sif_out=True)
image = nibabel.load(f"{sys.argv[1]}/pet.nii")
seen = image.get_fdata()
for i in range(2):
    print(f"frame {i}: {len(np.unique(want[..., i]))} values up to {want[..., i].max():g} should be, are",
          f"{len(np.unique(seen[..., i]))} up to {seen[..., i].max():g}, wrong by up to",
          f"{np.abs(seen - want)[..., i].max():.3f}")
assert image.get_data_dtype() == np.float32 and (image.dataobj.slope, image.dataobj.inter) == (1, 0)
step = want.max() / 32767
assert np.allclose(np.unique(seen[..., 0]), step * np.arange(4)), "the first frame changed"

header, subheaders, scaled = read_ecat(path, calibrated=True)
scaled = scaled[::-1, ::-1, ::-1]
print("calibrated=True:", scaled.dtype, scaled[-2, -1, -1].tolist(), "should be", want[-2, -1, -1].round(2).tolist())
assert (scaled[-2, -1, -1] == [2, -22056]).all() and want[-2, -1, -1].round(2).tolist() == [2.69, 43480]
assert (scaled[..., 0] == want[..., 0].astype(int)).all() and scaled[..., 1].min() < -32000

ends = [int(line.split()[1]) for line in open(f"{sys.argv[1]}/pet.sif").readlines()[1:]]
print(f"ends of the frames in the .sif should be {np.cumsum(seconds).tolist()} s, are {ends}")
assert [s["FRAME_DURATION"] for s in subheaders] == list(seconds), "read_ecat changed"
assert ends == [3600, 21600], "the .sif changed"

prone = ecat2nii(ecat_file=scan(f"{sys.argv[1]}/prone.v", 1), nifti_file=f"{sys.argv[1]}/prone.nii")
same = np.array_equal(prone.get_fdata(), seen) and np.allclose(prone.affine, image.affine)
print("prone and supine have the same voxels at the same places:", same)
assert same, "a prone patient is turned now"
PY
