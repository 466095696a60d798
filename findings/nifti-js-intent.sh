#!/bin/bash
# nifti-js 1.0.1 (npm; Node 20): the header of a statistical map. By nifti1.h the intent of a map has three numbers at
# bytes 56, 60 and 64; for an F statistic (code 4) p1 and p2 are the degrees of freedom of numerator and denominator.
# Input: a valid NIfTI-1 map of F values with 3 and 57 degrees of freedom.
# Expected of parseNIfTIHeader(), "the raw NIfTI information": intent_p1 3, intent_p2 57, intent_p3 0.
# Seen: 3, 3, 3. All three are read at byte 56, so every p value computed from such a header is of F(3, 3): F = 4 is
# p 0.14 there and p 0.012 in truth. The same header's other numbers are right, in both byte orders.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts nifti-js@1.0.1
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const nifti = require('nifti-js');
function header(little) {
  const bytes = new ArrayBuffer(352 + 4 * 8);
  const view = new DataView(bytes);
  view.setInt32(0, 348, little);
  [3, 2, 2, 2, 1, 1, 1, 1].forEach((v, i) => view.setInt16(40 + 2 * i, v, little)); // dim
  [3, 57, 0].forEach((v, i) => view.setFloat32(56 + 4 * i, v, little));             // intent_p1 to p3
  [4, 16, 32].forEach((v, i) => view.setInt16(68 + 2 * i, v, little));              // F test, float, 32 bits
  [1, 2, 2, 3, 0, 0, 0, 0].forEach((v, i) => view.setFloat32(76 + 4 * i, v, little)); // pixdim
  [352, 1, 0].forEach((v, i) => view.setFloat32(108 + 4 * i, v, little));           // vox_offset, slope, intercept
  view.setInt8(123, 2 | 8);                                                         // mm and s
  view.setInt16(252, 1, little);                                                    // qform code
  [110, 43, 49, 1].forEach((v, i) => view.setUint8(344 + i, i < 3 ? v : 0));        // "n+1"
  return bytes;
}
for (const little of [true, false]) {
  const seen = nifti.parseNIfTIHeader(header(little));
  const parameters = [seen.intent_p1, seen.intent_p2, seen.intent_p3];
  console.log(`little endian ${little}: intent ${seen.intent_code}, parameters should be 3,57,0, are ${parameters}`);
  assert.deepStrictEqual([seen.intent_code, seen.vox_offset, seen.pixdim[3], seen.datatype], [4, 352, 3, 'float']);
  assert.deepStrictEqual(parameters, [3, 3, 3], 'the parameters are read otherwise now');
}
JS
node "$d/t.js"
