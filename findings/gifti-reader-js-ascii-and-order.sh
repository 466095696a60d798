#!/bin/bash
# gifti-reader-js 0.4.6 (npm; Node 20) against nibabel 5.4.2 (PyPI): surfaces that say how they are stored, in the words
# of the GIFTI surface format 1.0 (section "DataArray": Encoding, Endian, ArrayIndexingOrder).
#  1. Encoding ASCII with an exponent, as any "%g" prints small numbers: 3.1e-05. Seen: two numbers, 3.1 and -5, so
#     every coordinate after it moves to another axis and the array is longer than its dimensions say.
#  2. Encoding Base64Binary, Endian BigEndian. Seen: read as little endian: 300 becomes 738263040.
#  3. ArrayIndexingOrder ColumnMajorOrder. Seen: handed out as it lies, so the triangles 0 1 2 and 0 2 300 come out as
#     0 0 1 and 2 2 300; the documentation hands out one flat array and speaks of no order.
# No exception in any case; a triangle mesh is drawn from these numbers. The source never looks at Endian or
# ArrayIndexingOrder. nibabel reads all three rightly.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts gifti-reader-js@0.4.6 fflate@0.8.2 sax@1.4.1
cat > "$d/read.js" <<'JS'
const fs = require('fs');
const gifti = require('gifti-reader-js');
for (const path of process.argv.slice(2)) {
  const data = gifti.parse(fs.readFileSync(path, 'utf8')).dataArrays[0].getData();
  console.log(JSON.stringify(Array.from(data)));
}
JS
PYTHONPATH="$d/p" python3 - "$d" <<'PY'
import base64, json, subprocess, sys
import nibabel
import numpy as np

folder = sys.argv[1]
points = np.array([[1.5, 0.000031, 2], [0.25, -4, 8]], np.float32)
triangles = np.array([[0, 1, 2], [0, 2, 300]], np.int32)

def write(name, array, text, encoding="Base64Binary", endian="LittleEndian", order="RowMajorOrder"):
    intent, kind = ("POINTSET", "FLOAT32") if array is points else ("TRIANGLE", "INT32")
    with open(path := f"{folder}/{name}.gii", "w") as file:
        file.write(f'''<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE GIFTI SYSTEM "http://www.nitrc.org/frs/download.php/115/gifti.dtd">
<GIFTI Version="1.0" NumberOfDataArrays="1"><MetaData/><LabelTable/>
<DataArray Intent="NIFTI_INTENT_{intent}" DataType="NIFTI_TYPE_{kind}" ArrayIndexingOrder="{order}"
 Dimensionality="2" Dim0="2" Dim1="3" Encoding="{encoding}" Endian="{endian}" ExternalFileName=""
 ExternalFileOffset=""><MetaData/><Data>{text}</Data></DataArray></GIFTI>
''')
    there = nibabel.load(path).darrays[0].data
    assert np.array_equal(there, array), f"nibabel reads {name} otherwise: {there}"
    return json.loads(subprocess.check_output(["node", "read.js", path], cwd=folder))

def encode(array, order="C"):
    return base64.b64encode(array.tobytes(order)).decode()

plain = write("plain", triangles, encode(triangles))
ascii_ = write("ascii", points, "1.5 3.1e-05 2 0.25 -4 8", encoding="ASCII")
big = write("big", triangles, encode(triangles.astype(">i4")), endian="BigEndian")
column = write("column", triangles, encode(triangles, "F"), order="ColumnMajorOrder")
for name, want, got in (("plain", triangles, plain), ("exponent", points, ascii_), ("big endian", triangles, big),
                        ("column major", triangles, column)):
    print(f"{name}: should be {want.ravel().tolist()}, is {got}")
assert plain == triangles.ravel().tolist()
assert np.allclose(ascii_, [1.5, 3.1, -5, 2, 0.25, -4, 8]), "exponents changed"
assert big == triangles.astype(">i4").view("<i4").ravel().tolist(), "big endian changed"
assert column == triangles.ravel(order="F").tolist(), "column major changed"
PY
