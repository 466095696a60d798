#!/bin/bash
# daikon 1.2.46 (npm; Node 20): Image.getInterpretedData() on valid uncompressed voxels. Its README says that it handles
# data type and mask.
#  1. Bits Allocated 16, Bits Stored 12, Pixel Representation 1, the four bits above the sample left 0. By DICOM PS3.5
#     section 8.1.1 the sample is those 12 bits alone, in two's complement, so 0x0B90 is -1136. Seen: 2960. The mask of
#     Bits Stored is applied to unsigned data only, and nothing looks at the sign bit of the sample.
#  2. The same with the sign repeated in the upper bits: right, which is why the fault goes unnoticed.
#  3. Bits Allocated 32 (RT Dose, many derived images). Seen: TypeError "getWord is not a function". A missing case, but
#     the message names neither voxels nor depth. Images of 32 bits are otherwise parsed without complaint.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts daikon@1.2.46 jpeg-lossless-decoder-js@2.0.7 \
    pako@2.1.0 fflate@0.8.2 xss@1.0.14 @wearemothership/dicom-character-set@1.0.4-opt.1
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const daikon = require('daikon');
function element(group, number, vr, value) {
  if (value.length % 2) value = Buffer.concat([value, Buffer.from(vr === 'CS' ? ' ' : '\0')]);
  const long = vr === 'OW' || vr === 'OB';
  const head = Buffer.alloc(long ? 12 : 8);
  head.writeUInt16LE(group, 0); head.writeUInt16LE(number, 2); head.write(vr, 4);
  if (long) head.writeUInt32LE(value.length, 8); else head.writeUInt16LE(value.length, 6);
  return Buffer.concat([head, value]);
}
const word = (n) => Buffer.from([n & 255, n >> 8]);
function file(voxels, stored, signed) {
  const allocated = 8 * voxels.BYTES_PER_ELEMENT;
  const meta = Buffer.concat([element(2, 1, 'OB', word(256)),
    element(2, 2, 'UI', Buffer.from('1.2.840.10008.5.1.4.1.1.7')), element(2, 3, 'UI', Buffer.from('1.2.3.4')),
    element(2, 16, 'UI', Buffer.from('1.2.840.10008.1.2.1')), element(2, 18, 'UI', Buffer.from('1.2.3.5'))]);
  const size = Buffer.alloc(4); size.writeUInt32LE(meta.length);
  const numbers = [[0x10, 1], [0x11, voxels.length], [0x100, allocated], [0x101, stored], [0x102, stored - 1],
    [0x103, signed]];
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), element(2, 0, 'UL', size), meta,
    element(8, 0x16, 'UI', Buffer.from('1.2.840.10008.5.1.4.1.1.7')), element(8, 0x18, 'UI', Buffer.from('1.2.3.4')),
    element(0x28, 2, 'US', word(1)), element(0x28, 4, 'CS', Buffer.from('MONOCHROME2')),
    ...numbers.map(([number, value]) => element(0x28, number, 'US', word(value))),
    element(0x7FE0, 0x10, 'OW', Buffer.from(voxels.buffer))]);
}
function read(voxels, stored, signed) {
  const bytes = new Uint8Array(file(voxels, stored, signed));
  const image = daikon.Series.parseImage(new DataView(bytes.buffer));
  try { return image.getInterpretedData(true); } catch (error) { return error.message; }
}
const want = [-1136, -1, 0, 3];
const extended = read(new Int16Array(want), 12, 1);
const plain = read(new Int16Array(want.map((v) => v & 0xFFF)), 12, 1);
const wide = read(new Uint32Array([70000, 140000, 210000, 280000]), 32, 0);
console.log('should be', want, '\nsign repeated above High Bit:', extended);
console.log('not repeated:', plain, '\n32 bits:', wide);
assert.deepStrictEqual(extended, want);
assert.deepStrictEqual(plain, [2960, 4095, 0, 3], 'signed 12 bits changed');
assert.match(String(wide), /getWord is not a function/, '32 bits changed');
JS
node "$d/t.js"
