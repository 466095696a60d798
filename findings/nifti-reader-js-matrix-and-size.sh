#!/bin/bash
# nifti-reader-js 0.8.0 (npm; Node 20): header.affine and readImage() of valid NIfTI files.
#  1. A half turn about an oblique axis as qform: quatern_b, c, d are 0.6, 0.8, 0, as floats. Their squares sum up to
#     1.00000005, so a = sqrt(1 - sum) has no value. nifti1_io.c (nifti_quatern_to_mat44) takes a as 0 then. Any half
#     turn may come out so, and they are common: one stands between two orders such as RAS and LPS.
#     Seen: the matrix is NaN but for the offsets (its pull request 56, open).
#  2. NIfTI-2 with a qform and no sform (sform_code 0). By nifti2.h, as by nifti1.h ("METHOD 2"), the qform is the
#     place. Seen: srow_x to srow_z all the same, here zeros: every voxel lies at the origin (its issue 57, open).
#     NIfTI-1 is right.
#  3. Six dimensions, 2 x 2 x 2 x 1 x 1 x 3 (dim[0] is 6; nifti1.h allows up to seven). Seen: the first 8 of 24 voxels.
#     Two dimensions, with dim[3] to dim[7] 0 (nifti1.h asks for positive sizes up to dim[0] only). Seen: no voxels.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts nifti-reader-js@0.8.0 fflate@0.8.2
cat > "$d/t.mjs" <<'JS'
import assert from 'assert';
import * as nifti from 'nifti-reader-js';

function file({ dims = [3, 2, 2, 2, 1, 1, 1, 1], quaternion = [0, 0, 0], version = 1 }) {
  const bytes = new ArrayBuffer(1000);
  const view = new DataView(bytes);
  const short = (at, values) => values.forEach((v, i) => view.setInt16(at + 2 * i, v, true));
  const int = (at, v) => view.setInt32(at, v, true);
  const long = (at, values) => values.forEach((v, i) => view.setBigInt64(at + 8 * i, BigInt(v), true));
  const real = (at, values) => values.forEach((v, i) =>
    version === 1 ? view.setFloat32(at + 4 * i, v, true) : view.setFloat64(at + 8 * i, v, true));
  const pixdim = [1, 2, 2, 3, 1, 1, 1, 1];
  const start = version === 1 ? 352 : 544;
  if (version === 1) {
    int(0, 348); short(40, dims); short(70, [2, 8]); real(76, pixdim); real(108, [start]);
    short(252, [1, 0]); real(256, [...quaternion, 10, 20, 30]);     // qform_code, sform_code, quatern_*, qoffset_*
    [110, 43, 49].forEach((v, i) => view.setUint8(344 + i, v));     // "n+1"
  } else {
    int(0, 540); [110, 43, 50, 0, 13, 10, 26, 10].forEach((v, i) => view.setUint8(4 + i, v));
    short(12, [2, 8]); long(16, dims); real(104, pixdim); long(168, [start]);
    int(344, 1); int(348, 0); real(352, [...quaternion, 10, 20, 30]);
  }
  const size = dims.slice(1, dims[0] + 1).reduce((a, b) => a * b);
  for (let i = 0; i < size; i++) view.setUint8(start + i, i + 1);
  assert(nifti.isNIFTI(bytes));
  const header = nifti.readHeader(bytes);
  return { matrix: header.affine.slice(0, 3), voxels: new Uint8Array(nifti.readImage(header, bytes)).length, size };
}
const show = (name, want, got) => console.log(`${name}: should be ${JSON.stringify(want)}, is ` +
  JSON.stringify(got, (_, v) => (Number.isNaN(v) ? 'NaN' : v)));
// A half turn about n is 2 n n^T - 1; the columns are scaled by the voxel sizes 2, 2, 3.
const half = ([x, y]) =>
  [[2 * (2 * x * x - 1), 4 * x * y, 0, 10], [4 * x * y, 2 * (2 * y * y - 1), 0, 20], [0, 0, -3, 30]];
const close = (a, b) => a.flat().every((v, i) => Math.abs(v - b.flat()[i]) < 1e-5);

const right = file({ quaternion: [1, 0, 0] });
assert(close(right.matrix, half([1, 0])) && right.voxels === 8);
const oblique = file({ quaternion: [0.6, 0.8, 0] });
show('half turn about 0.6, 0.8, 0', half([0.6, 0.8]), oblique.matrix);
assert(oblique.matrix.every((row, i) => row.slice(0, 3).some(Number.isNaN) && row[3] === [10, 20, 30][i]),
  'half turns are read now');

const straight = [[2, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30]];
assert(close(file({}).matrix, straight));
const second = file({ version: 2 });
show('NIfTI-2 with a qform', straight, second.matrix);
assert(second.matrix.flat().every((v) => v === 0), 'the qform of NIfTI-2 is read now');

const six = file({ dims: [6, 2, 2, 2, 1, 1, 3, 1] });
show('voxels of six dimensions', six.size, six.voxels);
assert.strictEqual(six.voxels, 8, 'six dimensions changed');
const flat = file({ dims: [2, 3, 4, 0, 0, 0, 0, 0] });
show('voxels of two dimensions', flat.size, flat.voxels);
assert.strictEqual(flat.voxels, 0, 'two dimensions changed');
JS
node "$d/t.mjs"
