#!/bin/bash
# dicomsdl 0.109.4 (PyPI; numpy 2.2.6; CPython 3.11): pixelData() hands out other numbers than the file holds, silently.
# Input: three valid uncompressed images of 2 x 3 voxels (DICOM PS3.5 section 8.1.1 and PS3.3 C.7.6.3):
#  1. Bits Allocated 32, Bits Stored 32, unsigned, as the pixel data of an RT Dose: 70000, 140000, ...
#  2. Bits Allocated 8, Pixel Representation 1 (two's complement): -3, -2, ...
#  3. Bits Allocated 16, Bits Stored 12, Pixel Representation 1, the four bits above the sample left 0: the sample is
#     those 12 bits, so 0x0FFD is -3; no rule of the standard makes a writer repeat the sign bit above High Bit.
# Expected of pixelData(storedvalue=True), "stored values; pixel values before LUT": these numbers.
# Seen: 1. 16-bit numbers, made of the first half of the bytes (70000, 140000, 210000 and nothing of the second row);
#       2. 253, 254, ...; 3. 4093, 4094, ... in an array of int16. No exception, no warning.
# A dose read this way has the right shape and wrong values everywhere.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    dicomsdl==0.109.4 numpy==2.2.6
PYTHONPATH="$d/p" python3 - "$d" <<'PY'
import struct, sys
import dicomsdl
import numpy as np

def element(group, number, vr, value):
    value += (b" " if vr == b"CS" else b"\0") * (len(value) % 2)
    size = struct.pack("<HI", 0, len(value)) if vr in (b"OB", b"OW") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + size + value

def write(path, words, stored, signed):
    secondary = b"1.2.840.10008.5.1.4.1.1.7"
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", secondary) + element(2, 3, b"UI", b"1.2.3.4")
    meta += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + element(2, 0x12, b"UI", b"1.2.3.5")
    data = element(8, 0x16, b"UI", secondary) + element(8, 0x18, b"UI", b"1.2.3.4") + element(8, 0x60, b"CS", b"OT")
    data += element(0x28, 2, b"US", b"\1\0") + element(0x28, 4, b"CS", b"MONOCHROME2")
    allocated = 8 * words.itemsize
    for number, value in zip((0x10, 0x11, 0x100, 0x101, 0x102, 0x103), (2, 3, allocated, stored, stored - 1, signed)):
        data += element(0x28, number, b"US", struct.pack("<H", value))
    data += element(0x7FE0, 0x10, b"OB" if allocated == 8 else b"OW", words.tobytes())
    with open(path, "wb") as file:
        file.write(b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data)

def read(name, words, stored, signed, want):
    write(path := f"{sys.argv[1]}/a.dcm", words.reshape(2, 3), stored, signed)
    got = dicomsdl.open(path).pixelData(storedvalue=True)
    print(f"{name}: should be {list(map(int, want))}, is {got.ravel().tolist()} ({got.dtype})")
    assert got.shape == (2, 3)
    return got.ravel()

small = np.arange(-3, 3)
wide = np.arange(1, 7, dtype="<u4") * 70000
assert np.array_equal(read("16 bits, signed", small.astype("<i2"), 16, 1, small), small)

got = read("32 bits, unsigned", wide, 32, 0, wide)
assert got.dtype == np.uint16 and np.array_equal(got, wide.view("<u2")[:6]), "32 bits changed"
got = read("8 bits, signed", small.astype("i1"), 8, 1, small)
assert np.array_equal(got, small.astype("u1")), "signed 8 bits changed"
got = read("12 signed bits in 16", (small & 0xFFF).astype("<u2"), 12, 1, small)
assert got.dtype == np.int16 and np.array_equal(got, small & 0xFFF), "signed 12 bits changed"
PY
