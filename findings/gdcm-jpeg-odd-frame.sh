#!/bin/bash
# python-gdcm 3.2.6 against 3.2.2 (PyPI wheels of GDCM 3.2.6 and 3.2.2; CPython 3.11, Linux).
# Input: an 8-bit grey image of 33 x 35 voxels, uncompressed. That is 1155 bytes, so Pixel Data carries one more byte
# of padding, as DICOM demands of every value (PS3.5 section 8.1.1: the padding is no part of the image).
# Expected: `gdcmconv --jpeg` writes it as lossless JPEG, as it does for 32 x 35, and a tool that failed says so by its
# exit code.
# Seen: 3.2.2 writes the file. 3.2.6 prints "Could not change the Transfer Syntax" and writes nothing; JPEG 2000 and
# JPEG-LS of the same file still work. In both versions the wheel's command exits with 0, as its Python wrapper
# calls the program and drops what it returned (the program itself returns 1), so `gdcmconv ... && rm original` in a
# script deletes an image that was never converted.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
for v in 3.2.2 3.2.6; do
    pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/$v" \
        "python-gdcm==$v"
done
python3 - "$d" <<'PY'
import os, struct, subprocess, sys

folder = sys.argv[1]

def element(group, number, vr, value):
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    size = struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + size + value

def write(path, rows, columns):
    secondary = b"1.2.840.10008.5.1.4.1.1.7"
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", secondary) + element(2, 3, b"UI", b"1.2.3.4")
    meta += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + element(2, 0x12, b"UI", b"1.2.3.5")
    data = element(8, 0x16, b"UI", secondary) + element(8, 0x18, b"UI", b"1.2.3.4") + element(8, 0x60, b"CS", b"OT")
    data += element(0x20, 0xD, b"UI", b"1.2.3.6") + element(0x20, 0xE, b"UI", b"1.2.3.7")
    words = {2: 1, 0x10: rows, 0x11: columns, 0x100: 8, 0x101: 8, 0x102: 7, 0x103: 0}
    for number in sorted([*words, 4]):
        value = b"MONOCHROME2" if number == 4 else struct.pack("<H", words[number])
        data += element(0x28, number, b"CS" if number == 4 else b"US", value)
    data += element(0x7FE0, 0x10, b"OB", bytes(i * 7 % 251 for i in range(rows * columns)))
    with open(path, "wb") as file:
        file.write(b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data)

def convert(version, option, rows, columns):
    source, target = f"{folder}/in.dcm", f"{folder}/out.dcm"
    write(source, rows, columns)
    if os.path.exists(target):
        os.remove(target)
    environment = dict(os.environ, PYTHONPATH=f"{folder}/{version}")
    ran = [sys.executable, f"{folder}/{version}/bin/gdcmconv", option, source, target]
    done = subprocess.run(ran, env=environment, capture_output=True, text=True)
    wrote = os.path.exists(target)
    print(f"{version} {option:9} {rows} x {columns}: exit {done.returncode}, file {wrote}, {done.stderr.strip()!r}")
    return done.returncode, wrote, "Could not change the Transfer Syntax" in done.stderr + done.stdout

assert convert("3.2.2", "--jpeg", 33, 35) == (0, True, False)
for option in ("--jpeg", "--jpegls", "--j2k"):
    assert convert("3.2.6", option, 32, 35) == (0, True, False)
for option in ("--jpegls", "--j2k"):
    assert convert("3.2.6", option, 33, 35) == (0, True, False)
assert convert("3.2.6", "--jpeg", 33, 35) == (0, False, True), "changed: odd frames become JPEG, or exit code says no"
program = subprocess.run([f"{folder}/3.2.6/_gdcm/gdcmconv", "--jpeg", f"{folder}/in.dcm", f"{folder}/out.dcm"],
                         capture_output=True)
print("3.2.6, the program inside the wheel: exit", program.returncode)
assert program.returncode == 1
PY
