#!/bin/bash
# @cornerstonejs/codec-openjpeg 1.3.6 (npm; Node 20; the JPEG 2000 codec of Cornerstone and OHIF) against
# pylibjpeg-openjpeg 2.6.0 (PyPI), both built on OpenJPEG.
# Input: a lossless JPEG 2000 codestream of signed samples, 8 bits deep (Ssiz 0x87; ITU T.800 A.5.1 allows 1 to 38 bits
# of either sign), -128 to 127, made by pylibjpeg-openjpeg, which reads it back exactly. DICOM allows such voxels
# (Bits Allocated 8, Pixel Representation 1).
# Seen in the npm package:
#  decoder: getFrameInfo() says isSigned: true, and getDecodedBuffer() holds 0 for every negative sample: they are cut
#  off as if the output were unsigned;
#  encoder, told isSigned: true: every negative sample is written as 127, since the bytes are read as unsigned.
# Neither says a word. Signed 12 and 16 bits go both ways exactly.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    pylibjpeg-openjpeg==2.6.0 numpy==2.2.6
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts @cornerstonejs/codec-openjpeg@1.3.6
cat > "$d/t.js" <<'JS'
const fs = require('fs');
require('@cornerstonejs/codec-openjpeg')().then((codec) => {
  for (const bits of process.argv.slice(2).map(Number)) {
    const raw = fs.readFileSync(`${bits}.raw`);
    const frame = { width: 32, height: 32, bitsPerSample: bits, componentCount: 1, isSigned: true };
    const encoder = new codec.J2KEncoder();
    encoder.getDecodedBuffer(frame).set(raw);
    encoder.setQuality(true, 0);
    encoder.encode();
    fs.writeFileSync(`${bits}.npm.j2k`, encoder.getEncodedBuffer());
    const stream = fs.readFileSync(`${bits}.j2k`);
    const decoder = new codec.J2KDecoder();
    decoder.getEncodedBuffer(stream.length).set(stream);
    decoder.decode();
    fs.writeFileSync(`${bits}.out`, decoder.getDecodedBuffer());
    fs.writeFileSync(`${bits}.signed`, String(decoder.getFrameInfo().isSigned));
  }
});
JS
cd "$d"
PYTHONPATH="$d/p" python3 - <<'PY'
import subprocess
from pathlib import Path
import numpy as np
import openjpeg
from openjpeg.utils import encode_array

ramp = (np.arange(32 * 32) * 37 % 256 - 128).reshape(32, 32)
images = {bits: (ramp * 2 ** (bits - 8)).astype("i1" if bits == 8 else "<i2") for bits in (8, 12, 16)}
for bits, image in images.items():
    Path(f"{bits}.raw").write_bytes(image.tobytes())
    stream = encode_array(image, bits_stored=bits)
    assert np.array_equal(openjpeg.decode(stream), image)
    Path(f"{bits}.j2k").write_bytes(stream)
subprocess.run(["node", "t.js", *map(str, images)], check=True, stdout=subprocess.DEVNULL)
for bits, image in images.items():
    decoded = np.frombuffer(Path(f"{bits}.out").read_bytes(), image.dtype).reshape(32, 32)
    encoded = openjpeg.decode(Path(f"{bits}.npm.j2k").read_bytes())
    print(f"{bits} bits: should be {image[0, :5]}, npm decoder {decoded[0, :5]}, npm encoder {encoded[0, :5]}")
    assert Path(f"{bits}.signed").read_text() == "true"
    if bits == 8:
        assert np.array_equal(decoded, np.maximum(image, 0)), "decoder changed"
        assert np.array_equal(encoded, np.where(image < 0, 127, image)), "encoder changed"
    else:
        assert np.array_equal(decoded, image) and np.array_equal(encoded, image)
PY
