#!/bin/bash
# parrec-reader-py 0.2.0 (PyPI, "A Philips par/rec reader") against nibabel 5.4.2 (PyPI; numpy 2.2.6; CPython 3.11): a
# Philips MR export. The .PAR is a text with a line for each image, among its columns "image pixel size (in bits)"; the
# .REC holds the images, one after another.
# Input: an EPI scan of 18 images of 64 x 64, by a .PAR that nibabel brings for its tests, with a .REC made for it.
#  1. Recread.read_image(n), 16 bits. Expected: image n, as read()[:, :, n] and nibabel have it. Seen: it begins n times
#     64 x 64 bytes after the start and not twice as far. Image 1 is the lower half of image 0 above the upper half of
#     image 1, image 2 is image 1, image 16 is image 8. Image 0 alone is right, and half of the scan is never shown.
#     Nothing is said; a slice of the same head looks plausible.
#  2. read(), 8 bits. Expected: 18 images of bytes, as nibabel reads them. Seen: 9 images, whose voxels are two bytes
#     taken for one number. Image 0 is made of images 0 and 1, each of half the width and half the height, two rows side
#     by side. The pixel size is never asked for. A line says that the number of images does not match.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    parrec-reader-py==0.2.0 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import pathlib, re, sys
import nibabel
import numpy as np
from parrec.recread import Recread

shipped = pathlib.Path(nibabel.__file__).parent / "tests" / "data" / "phantom_EPI_asc_CLEAR_2_1.PAR"
text, folder = shipped.read_text(), pathlib.Path(sys.argv[1])
shape, random = (64, 64, 18), np.random.default_rng(0)

def scan(bits):
    """-> the voxels as nibabel reads them, with slices and volumes as one axis, and the reader"""
    lines, dropped = re.subn(r"(?m)^ +\d +1 +3 .*\n", "", text)  # the third of three volumes
    lines, kept = re.subn(r"(?m)^( +\d +1 +\d +1 0 2 +\d+ +)16 ", rf"\g<1>{bits} ", lines)
    lines, volumes = re.subn(r"(number of dynamics +: +)3", r"\g<1>2", lines)
    assert (dropped, kept, volumes) == (9, 18, 1)
    voxels = random.integers(0, 2 ** (bits - 1), shape).astype(f"<u{bits // 8}")
    (folder / f"scan{bits}.PAR").write_text(lines)
    (folder / f"scan{bits}.REC").write_bytes(voxels.tobytes(order="F"))
    image = nibabel.parrec.load(folder / f"scan{bits}.PAR")
    seen = np.asarray(image.dataobj.get_unscaled())
    assert seen.shape == (64, 64, 9, 2) and np.array_equal(seen.reshape(shape, order="F"), voxels)
    return voxels, Recread(str(folder / f"scan{bits}.PAR"))

voxels, reader = scan(16)
assert np.array_equal(reader.read(), voxels)
numbers = {}
for n in range(18):
    seen = reader.read_image(n)
    assert np.array_equal(seen.ravel("F"), voxels.ravel("F")[n * 2048:][:4096]), "read_image changed"
    numbers[n] = [k for k in range(18) if np.array_equal(seen, voxels[..., k])]
print("16 bits: read_image() of 0, 1, 2, ... gives", ", ".join(str(k[0]) if k else "halves" for k in numbers.values()))
assert all(numbers[n] == ([] if n % 2 else [n // 2]) for n in numbers)
mixed = reader.read_image(1)
assert np.array_equal(mixed[:, :32], voxels[:, 32:, 0]) and np.array_equal(mixed[:, 32:], voxels[:, :32, 1])

voxels, reader = scan(8)
seen = reader.read()
print(f"8 bits: should be {voxels.shape}, {voxels.dtype}, up to {voxels.max()}, is {seen.shape}, {seen.dtype}, up to",
      seen.max())
assert seen.shape == (64, 64, 9) and seen.dtype == np.uint16, "8 bits changed"
assert np.array_equal(seen.ravel("F"), voxels.ravel("F").view("<u2"))
assert np.array_equal(seen[:32, :32, 0] & 255, voxels[::2, ::2, 0])
assert np.array_equal(seen[32:, 32:, 0] & 255, voxels[::2, 1::2, 1])
PY
