#!/bin/bash
# dicom-parser 1.8.21, daikon 1.2.46 and dcmjs 0.51.1 (npm; Node 20): one element of a 64-bit value representation
# before the picture.
# DICOM PS3.5 has had OV, SV and UV since 2019 (section 6.2). By section 7.1.2 they have two reserved bytes and a 32-bit
# length in explicit VR, like OB and unlike US. They stand in private groups and in
# (7FE0,0001), the Extended Offset Table of large multi-frame images.
# Input: a valid uncompressed picture of 2 x 3 bytes with one private element of eight bytes, UV, SV or OV.
# Seen: dcmjs reads the picture. dicom-parser takes the reserved bytes for a length of 0 and the length for the next
# tag, and throws "buffer overrun": the whole file is lost for one private number. daikon goes astray in the same way:
# parseImage returns null. pydicom reads such files.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts dicom-parser@1.8.21 dcmjs@0.51.1 daikon@1.2.46
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const dicomParser = require('dicom-parser');
const dcmjs = require('dcmjs');
const daikon = require('daikon');
console.warn = console.error = () => {};
function element(group, number, vr, value) {
  if (value.length % 2) value = Buffer.concat([value, Buffer.from(vr === 'UI' ? '\0' : ' ')]);
  const long = ['OB', 'OV', 'SV', 'UV', 'UR'].includes(vr);
  const head = Buffer.alloc(long ? 12 : 8);
  head.writeUInt16LE(group, 0); head.writeUInt16LE(number, 2); head.write(vr, 4);
  if (long) head.writeUInt32LE(value.length, 8); else head.writeUInt16LE(value.length, 6);
  return Buffer.concat([head, value]);
}
const word = (n) => Buffer.from([n & 255, n >> 8]);
const text = (s) => Buffer.from(s);
function file(extra) {
  const meta = Buffer.concat([element(2, 1, 'OB', word(256)), element(2, 2, 'UI', text('1.2.840.10008.5.1.4.1.1.7')),
    element(2, 3, 'UI', text('1.2.3.4')), element(2, 16, 'UI', text('1.2.840.10008.1.2.1')),
    element(2, 18, 'UI', text('1.2.3.5'))]);
  const size = Buffer.alloc(4); size.writeUInt32LE(meta.length);
  const numbers = [[0x10, 2], [0x11, 3], [0x100, 8], [0x101, 8], [0x102, 7], [0x103, 0]];
  return new Uint8Array(Buffer.concat([Buffer.alloc(128), text('DICM'), element(2, 0, 'UL', size), meta,
    element(8, 0x16, 'UI', text('1.2.840.10008.5.1.4.1.1.7')), element(8, 0x18, 'UI', text('1.2.3.4')),
    element(0x11, 0x10, 'LO', text('MADE UP')), extra, element(0x28, 2, 'US', word(1)),
    element(0x28, 4, 'CS', text('MONOCHROME2')), ...numbers.map(([n, v]) => element(0x28, n, 'US', word(v))),
    element(0x7FE0, 0x10, 'OB', Buffer.from([1, 2, 3, 4, 5, 6]))]));
}
const attempt = (read) => {
  try { return String(read()); } catch (e) { return `throws ${e.message || e.exception || e}`; }
};
const number = Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]);
for (const [vr, value] of [['LO', text('ordinary')], ['UV', number], ['SV', number], ['OV', number]]) {
  const bytes = file(element(0x11, 0x1001, vr, value));
  const seen = {
    dcmjs: attempt(() => new Uint8Array(dcmjs.data.DicomMessage.readFile(bytes.buffer).dict['7FE00010'].Value[0])),
    'dicom-parser': attempt(() => {
      const { dataOffset, length } = dicomParser.parseDicom(bytes).elements.x7fe00010;
      return bytes.slice(dataOffset, dataOffset + length);
    }),
    daikon: attempt(() => {
      const image = daikon.Series.parseImage(new DataView(bytes.buffer));
      return image && image.getInterpretedData(true);
    }),
  };
  console.log(vr, seen);
  assert.strictEqual(seen.dcmjs, '1,2,3,4,5,6');
  if (vr === 'LO') assert(seen.daikon === seen.dcmjs && seen['dicom-parser'] === seen.dcmjs);
  else {
    assert(/buffer overrun/.test(seen['dicom-parser']), 'dicom-parser reads 64-bit VRs now');
    assert.strictEqual(seen.daikon, 'null', 'daikon changed');
  }
}
JS
node "$d/t.js"
