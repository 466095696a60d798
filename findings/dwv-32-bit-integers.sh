#!/bin/bash
# dwv 0.36.4 (npm, DICOM Web Viewer; Node 20, without a browser): voxels of 32 bits.
# Input: valid uncompressed images of six voxels with Bits Allocated and Bits Stored 32: unsigned, as an RT Dose of that
# depth (DICOM PS3.3 C.8.8.3.4 allows 16 and 32), and signed. Pixel Data (7FE0,0010) holds integers whatever its depth;
# 32-bit floats have an element of their own, Float Pixel Data (7FE0,0008) (PS3.5 section 8.1).
# Expected: these integers, as pydicom gives them; 16-bit voxels are right.
# Seen: a Float32Array over the same bytes: 70000 becomes 9.8e-41, 1120403456 becomes 100, -1 becomes NaN. Nothing is
# said; the picture is drawn from these numbers.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts dwv@0.36.4 konva@10.2.5 jszip@3.10.2 \
    magic-wand-tool@1.1.7
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const dwv = require('dwv');
function element(group, number, vr, value) {
  if (value.length % 2) value = Buffer.concat([value, Buffer.from(vr === 'UI' ? '\0' : ' ')]);
  const long = vr === 'OW' || vr === 'OB';
  const head = Buffer.alloc(long ? 12 : 8);
  head.writeUInt16LE(group, 0); head.writeUInt16LE(number, 2); head.write(vr, 4);
  if (long) head.writeUInt32LE(value.length, 8); else head.writeUInt16LE(value.length, 6);
  return Buffer.concat([head, value]);
}
const word = (n) => Buffer.from([n & 255, n >> 8]);
const text = (s) => Buffer.from(s);
function file(voxels, signed) {
  const bits = 8 * voxels.BYTES_PER_ELEMENT;
  const meta = Buffer.concat([element(2, 1, 'OB', word(256)), element(2, 2, 'UI', text('1.2.840.10008.5.1.4.1.1.7')),
    element(2, 3, 'UI', text('1.2.3.4')), element(2, 16, 'UI', text('1.2.840.10008.1.2.1')),
    element(2, 18, 'UI', text('1.2.3.5'))]);
  const size = Buffer.alloc(4); size.writeUInt32LE(meta.length);
  const numbers = [[0x10, 2], [0x11, 3], [0x100, bits], [0x101, bits], [0x102, bits - 1], [0x103, signed]];
  return new Uint8Array(Buffer.concat([Buffer.alloc(128), text('DICM'), element(2, 0, 'UL', size), meta,
    element(8, 0x16, 'UI', text('1.2.840.10008.5.1.4.1.1.7')), element(8, 0x18, 'UI', text('1.2.3.4')),
    element(8, 0x60, 'CS', text('OT')), element(0x20, 0xE, 'UI', text('1.2.3.6')), element(0x28, 2, 'US', word(1)),
    element(0x28, 4, 'CS', text('MONOCHROME2')), ...numbers.map(([n, v]) => element(0x28, n, 'US', word(v))),
    element(0x7FE0, 0x10, 'OW', Buffer.from(voxels.buffer))])).buffer;
}
function read(voxels, signed) {
  const parser = new dwv.DicomParser();
  parser.parse(file(voxels, signed));
  const elements = parser.getDicomElements();
  const image = dwv.createImage(elements);
  const got = Array.from(voxels, (_, i) => image.getRescaledValue(i % 3, Math.floor(i / 3), 0));
  const held = elements['7FE00010'].value[0].constructor.name;
  console.log(`${voxels.constructor.name}: should be ${voxels}, is ${got} (${held})`);
  return { got, held };
}
const asFloats = (voxels) => Array.from(new Float32Array(voxels.buffer));
const small = Int16Array.of(-3, -2, -1, 0, 1, 2);
assert.deepStrictEqual(read(small, 1), { got: Array.from(small), held: 'Int16Array' });
const dose = Uint32Array.of(70000, 140000, 1120403456, 0, 1, 4000000000);
assert.deepStrictEqual(read(dose, 0), { got: asFloats(dose), held: 'Float32Array' });
const signed = Int32Array.of(-1, -70000, 70000, 0, 1, 1120403456);
assert.deepStrictEqual(read(signed, 1), { got: asFloats(signed), held: 'Float32Array' });
JS
node "$d/t.js"
