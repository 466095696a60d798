#!/bin/bash
# nrrd-js 0.2.1 (npm; Node 20): files whose voxels do not begin right behind the header.
# "Definition of NRRD File Format" (teem), section 5, fields "line skip" and "byte skip": a reader passes over that many
# lines, then bytes, before the data; -1 bytes: the data is the end of the file.
# Documentation: "Currently it only supports inline data"; the data is inline here. parse() knows both fields and hands
# them back.
# Input: six numbers of 16 bits behind the header of another format, as such fields are made for.
# Seen: its bytes are the first voxels, all others move along, and the last two are lost. Nothing is said.
# Further, serialize() of any parsed file with a key/value pair raises TypeError: it looks for the value among the
# fields (nrrd[key]) and not in nrrd.keys, where parse() has put it.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts nrrd-js@0.2.1
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const nrrd = require('nrrd-js');
const want = [1, 2, 3, 4, 5, 6];
function read(field, before) {
  const header = ['NRRD0004', 'type: int16', 'dimension: 2', 'sizes: 3 2', 'encoding: raw', 'endian: little', ...field];
  const file = Buffer.concat([Buffer.from(header.join('\n') + '\n\n'), before,
    Buffer.from(new Int16Array(want).buffer)]);
  return nrrd.parse(new Uint8Array(file).buffer);
}
const foreign = Buffer.from(new Int16Array([1000, 2000]).buffer);
const show = (name, file) => console.log(`${name}: should be ${want}, is ${Array.from(file.data)}`);
const cases = { 'no skip': read([], Buffer.alloc(0)), 'byte skip 4': read(['byte skip: 4'], foreign),
  'byte skip -1': read(['byte skip: -1'], foreign), 'line skip 1': read(['line skip: 1'], Buffer.from('abc\n')) };
for (const [name, file] of Object.entries(cases)) show(name, file);
assert.deepStrictEqual(Array.from(cases['no skip'].data), want);
const moved = [1000, 2000, 1, 2, 3, 4];
assert.deepStrictEqual(Array.from(cases['byte skip 4'].data), moved, 'byte skip changed');
assert.strictEqual(cases['byte skip 4'].byteSkip, 4);
assert.deepStrictEqual(Array.from(cases['byte skip -1'].data), moved, 'byte skip -1 changed');
assert.deepStrictEqual(Array.from(cases['line skip 1'].data).slice(2), want.slice(0, 4), 'line skip changed');
const pair = read(['modality:=CT'], Buffer.alloc(0));
assert.strictEqual(pair.keys.modality, 'CT');
assert.throws(() => nrrd.serialize(pair), TypeError, 'key/value pairs are written now');
try { nrrd.serialize(pair); } catch (error) { console.log('with a key/value pair:', error.message); }
JS
node "$d/t.js"
