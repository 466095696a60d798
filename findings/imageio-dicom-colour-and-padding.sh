#!/bin/bash
# imageio 2.38.1 (PyPI; numpy 2.2.6, pillow 13.0.0; CPython 3.11), its own DICOM reader (format "DICOM", which needs no
# pydicom; named legacy, but still what imread takes where pydicom is not installed). Two valid uncompressed pictures:
#  1. RGB, Planar Configuration 0, 4 x 6 voxels: R, G, B of the first voxel, then the second (DICOM PS3.3 C.7.6.3.1.3).
#     Expected a colour picture or an exception. Seen: one grey picture of 4 x 6, uint8, made of the first 24 bytes of
#     72: the upper third of the picture with red, green and blue as neighbours. Planar Configuration is never read.
#  2. 8-bit grey of 3 x 5 voxels: 15 bytes, so one byte of padding follows, as every DICOM value has an even length
#     (PS3.5 section 8.1.1). Seen: ValueError "cannot reshape array of size 16". 3 x 6 is read.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    imageio==2.38.1 numpy==2.2.6 pillow==13.0.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import struct, sys
import imageio.v2 as imageio
import numpy as np

def element(group, number, vr, value):
    value += (b" " if vr == b"CS" else b"\0") * (len(value) % 2)
    size = struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + size + value

def read(picture):
    secondary = b"1.2.840.10008.5.1.4.1.1.7"
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", secondary) + element(2, 3, b"UI", b"1.2.3.4")
    meta += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + element(2, 0x12, b"UI", b"1.2.3.5")
    data = element(8, 0x16, b"UI", secondary) + element(8, 0x18, b"UI", b"1.2.3.4") + element(8, 0x60, b"CS", b"OT")
    data += element(0x20, 0xD, b"UI", b"1.2.3.6") + element(0x20, 0xE, b"UI", b"1.2.3.7")
    colour = picture.ndim == 3
    data += element(0x28, 2, b"US", struct.pack("<H", 3 if colour else 1))
    data += element(0x28, 4, b"CS", b"RGB" if colour else b"MONOCHROME2")
    data += element(0x28, 6, b"US", b"\0\0") if colour else b""
    for number, value in zip((0x10, 0x11, 0x100, 0x101, 0x102, 0x103), (*picture.shape[:2], 8, 8, 7, 0)):
        data += element(0x28, number, b"US", struct.pack("<H", value))
    data += element(0x7FE0, 0x10, b"OB", picture.tobytes())
    with open(path := f"{sys.argv[1]}/a.dcm", "wb") as file:
        file.write(b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data)
    return np.asarray(imageio.imread(path, format="DICOM", progress=False))

grey = np.arange(18, dtype=np.uint8).reshape(3, 6)
assert np.array_equal(read(grey), grey)

colour = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
got = read(colour)
print(f"RGB {colour.shape}: read as {got.shape}, first row should be {colour[0, :2].tolist()}..., is {got[0].tolist()}")
assert np.array_equal(got, colour.ravel()[:24].reshape(4, 6)), "colour is read otherwise now"
try:
    read(np.arange(15, dtype=np.uint8).reshape(3, 5))
    raise AssertionError("an odd number of bytes is read now")
except ValueError as error:
    print("15 bytes and one of padding:", error)
PY
