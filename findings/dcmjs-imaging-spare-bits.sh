#!/bin/bash
# dcmjs-imaging 0.2.5 (npm; with dcmjs 0.50.3; Node 20): DicomImage.render() of two kinds of valid uncompressed voxels
# that its README lists ("from 1 to 32 bits allocated, with signed, unsigned and float pixel values").
#  1. Bits Allocated 16, Bits Stored 12, High Bit 11, with a 1 in bit 12 of every word, as older equipment stores an
#     overlay plane (DICOM PS3.5-2004 section 8.1.2; retired, but such files are in every archive). A sample is the
#     twelve bits up to High Bit (section 8.1.1), so the picture must be the one without that bit.
#     Seen: every voxel white, window 1 at level 4095.5. Words are clipped to 0..4095 where they should be masked.
#  2. Bits Allocated 8, Pixel Representation 1: from black at -100 to white at 100.
#     Seen: every negative voxel white, since the bytes are read as unsigned and then clipped to 127; 0 is black.
# pydicom, SimpleITK and dcm2niix mask such bits away.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts dcmjs-imaging@0.2.5 dcmjs@0.50.3 \
    dcmjs-codecs@0.0.8 loglevel@1.9.2 loglevel-plugin-prefix@0.8.4
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const { DicomImage } = require('dcmjs-imaging');
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
    element(0x7FE0, 0x10, allocated === 8 ? 'OB' : 'OW', Buffer.from(voxels.buffer))]);
}
function render(name, voxels, stored, signed) {
  const image = new DicomImage(new Uint8Array(file(voxels, stored, signed)).buffer).render();
  const grey = Array.from(new Uint8Array(image.pixels)).filter((_, i) => i % 4 === 0);
  const { window, level } = image.windowLevel;
  console.log(`${name}: grey ${grey}, window ${window} at ${level}`);
  return { grey, window, level };
}
const words = [0, 500, 1000, 2000, 3000, 4000];
const plain = render('12 bits, upper bits 0', new Uint16Array(words), 12, 0);
const overlay = render('12 bits, bit 12 set', new Uint16Array(words.map((w) => w | 0x1000)), 12, 0);
const wide = render('16 bits, signed', new Int16Array([-100, -50, -1, 0, 50, 100]), 16, 1);
const bytes = render('8 bits, signed', new Int8Array([-100, -50, -1, 0, 50, 100]), 8, 1);
assert(plain.grey[0] === 0 && plain.grey[5] === 255 && wide.grey[0] === 0 && wide.grey[5] === 255);
assert.deepStrictEqual(overlay, { grey: [255, 255, 255, 255, 255, 255], window: 1, level: 4095.5 });
assert.deepStrictEqual(bytes.grey.slice(0, 4), [255, 255, 255, 0], 'signed bytes changed');
JS
node "$d/t.js"
