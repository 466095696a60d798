#!/bin/bash
# ismrmrd 1.15.0 (PyPI, the Python side of the ISMRM raw data format; numpy 2.2.6; CPython 3.11, 64-bit Linux): images
# of 32-bit integers, such as label maps that a reconstruction sends back.
# The format's data type 4 is a 32-bit signed integer; the package's own constants.py says so: "DATATYPE_INT = 4,
# corresponds to int32_t", and its HDF5 side stores '<i4'.
# Seen in Image:
#  1. from_array of int32 raises TypeError "Datatype not supported: int32";
#  2. from_array of int64 is accepted as type 4, and the stream carries 8 bytes a voxel where a reader of the format
#     takes 4: every second voxel is a half, and the next message begins in the middle of the data;
#  3. a right message of type 4 (six voxels, 24 bytes) asks for 48 bytes. With another message behind it, its first 24
#     bytes are taken for voxels, and two voxels become one: -3 and -2 are read as -4294967299.
# The reason is one word in a table: np.dtype('int'), which is 64 bits wide here, beside 'uint32' in the line above.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    ismrmrd==1.15.0 numpy==2.2.6 h5py==3.16.0 xsdata==26.2 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import io
import numpy as np
from ismrmrd import Image
from ismrmrd.constants import DATATYPE_INT, DATATYPE_UINT

voxels = np.arange(-3, 3).reshape(1, 2, 3)

try:
    Image.from_array(voxels.astype(np.int32))
    raise AssertionError("int32 is accepted now")
except TypeError as error:
    print("int32:", error)

def stream(image):
    out = io.BytesIO()
    image.serialize_into(out.write)
    return out.getvalue()

unsigned = stream(Image.from_array(np.zeros((1, 2, 3), np.uint32)))
wide = Image.from_array(voxels.astype(np.int64))
added = len(stream(wide)) - len(unsigned)
print(f"int64: type {wide.data_type}, bytes of voxels {24 + added} (should be 24)")
assert wide.data_type == DATATYPE_INT and added == 24, "int64 changed"

# The unsigned image's message with type 4 and signed voxels: 2 bytes version, 2 bytes type, ..., voxels last.
assert unsigned[2:4] == DATATYPE_UINT.to_bytes(2, "little") and unsigned.endswith(bytes(24))
right = unsigned[:2] + DATATYPE_INT.to_bytes(2, "little") + unsigned[4:-24] + voxels.astype("<i4").tobytes()

def read(data):
    source = io.BytesIO(data)
    def exactly(count):
        part = source.read(count)
        if len(part) < count:
            raise EOFError(f"{count} bytes asked for, {len(part)} left")
        return part
    image = Image.deserialize_from(exactly)
    return image.data.ravel(), source.tell()

try:
    read(right)
    raise AssertionError("type 4 is read as 32 bits now")
except EOFError as error:
    print("type 4, alone:", error)
got, used = read(right + unsigned)
print(f"type 4, with a message behind it: {got[:3].tolist()}, {used - len(right)} bytes of that message used up")
assert used - len(right) == 24 and got[:3].tolist() == voxels.astype("<i4").ravel().view("<i8").tolist()
assert got[0] == -4294967299
PY
