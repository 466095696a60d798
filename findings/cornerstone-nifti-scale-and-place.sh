#!/bin/bash
# @cornerstonejs/nifti-volume-loader 5.0.13 (npm; Node 20; the NIfTI loader of Cornerstone3D and OHIF): valid files.
# By nifti1.h (section "DATA SCALING") a voxel's value is scl_slope x + scl_inter whenever scl_slope is not 0.
#  1. Slope 1, intercept -1024 (stored CT numbers), and slope 2.5, intercept 0. Seen: the stored numbers. The loader
#     scales only if the slope differs from 1 and the intercept from 0, so either alone is dropped: air is 0 HU.
#  2. Slope 2, intercept -10: scaled. But 20000 becomes -25546 and not 39990, since whole numbers are scaled in the
#     type that they are stored in; bytes with slope 2 and intercept 10 wrap at 256.
#  3. The same header and voxels in big endian order (nifti1.h, "BYTE ORDERING": a reader is to swap; nifti-reader-js,
#     which reads the header, does). Seen: voxels read as little endian, 300 is 11265.
#  4. Sagittal slices, 0.5 x 0.5 mm, 3 mm apart. The place of slice k is origin + 3 k times the direction of the slices.
#     Seen: 0.5 k. The patient's x, y and z are multiplied by the spacings of the columns, rows and slices, which is
#     right for axial slices alone. Ten slices take up 4.5 mm in the scene instead of 27.
# Nothing is said in any case. The core, which needs a browser, is replaced below by what the loader asks of it.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts --legacy-peer-deps \
    @cornerstonejs/nifti-volume-loader@5.0.13 nifti-reader-js@0.6.9 fflate@0.8.2 gl-matrix@3.4.3
cat > "$d/core.mjs" <<'JS'
const store = new Map();
const add = (id, { type, metadata }) => store.set(type + id, metadata);
export const metaData = { get: (type, id) => store.get(type + id) };
export const Enums = { MetadataModules: { IMAGE_PIXEL: 'imagePixelModule', IMAGE_PLANE: 'imagePlaneModule' } };
export const utilities = { genericMetadataProvider: { add, addRaw: add },
  VoxelManager: { createImageVoxelManager: ({ scalarData }) => ({ getScalarData: () => scalarData }) } };
export const cache = { isCacheable: () => true, decacheIfNecessaryUntilBytesAvailable() {} };
export const eventTarget = {};
export const triggerEvent = () => {};
JS
cat > "$d/hooks.mjs" <<'JS'
// The package is written for bundlers: names without endings, and modules that do not say that they are.
export async function resolve(name, context, next) {
  if (name === '@cornerstonejs/core') return { url: new URL('core.mjs', import.meta.url).href, shortCircuit: true };
  for (const end of ['', '.js', '/index.js']) try { return await next(name + end, context); } catch (error) {
    if (end === '/index.js') throw error;
  }
}
export const load = (url, context, next) =>
  next(url, url.includes('nifti-volume-loader') ? { ...context, format: 'module' } : context);
JS
cat > "$d/t.mjs" <<'JS'
import assert from 'assert';
import { register } from 'module';
register('./hooks.mjs', import.meta.url);
globalThis.XMLHttpRequest = class {
  open(_, url) { this.url = url; }
  addEventListener(_, listener) { this.listener = listener; }
  async send() { this.response = await (await fetch(this.url)).arrayBuffer(); this.listener(); }
};
console.log = console.error = () => {};
const { createNiftiImageIdsAndCacheMetadata, cornerstoneNiftiImageLoader } =
  await import('@cornerstonejs/nifti-volume-loader');
const { metaData } = await import('./core.mjs');
const axial = [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 3, 0]];
const sagittal = [[0, 0, -3, 90], [0.5, 0, 0, 0], [0, 0.5, 0, 0]];

function file({ voxels, code = 4, slope = 0, inter = 0, little = true, rows = axial, slices = 1 }) {
  const size = voxels.length / slices;
  const bytes = new ArrayBuffer(352 + 1000);
  const view = new DataView(bytes);
  view.setInt32(0, 348, little);
  [3, size, 1, slices, 1, 1, 1, 1].forEach((v, i) => view.setInt16(40 + 2 * i, v, little)); // dim
  [code, code === 2 ? 8 : 16].forEach((v, i) => view.setInt16(70 + 2 * i, v, little));      // datatype, bitpix
  [1, 1, 1, 3].forEach((v, i) => view.setFloat32(76 + 4 * i, v, little));                   // pixdim
  if (rows === sagittal) [0.5, 0.5].forEach((v, i) => view.setFloat32(80 + 4 * i, v, little));
  [352, slope, inter].forEach((v, i) => view.setFloat32(108 + 4 * i, v, little));           // vox_offset, scl_*
  view.setInt8(123, 2);                                                                     // mm
  view.setInt16(254, 1, little);                                                            // sform_code
  rows.flat().forEach((v, i) => view.setFloat32(280 + 4 * i, v, little));                   // srow_x to srow_z
  [110, 43, 49].forEach((v, i) => view.setUint8(344 + i, v));                               // "n+1"
  voxels.forEach((v, i) => (code === 2 ? view.setUint8(352 + i, v) : view.setInt16(352 + 2 * i, v, little)));
  return 'data:application/octet-stream;base64,' + Buffer.from(bytes).toString('base64');
}
async function read(options) {
  const ids = await createNiftiImageIdsAndCacheMetadata({ url: file(options) });
  const image = await cornerstoneNiftiImageLoader(ids[0]).promise;
  const places = ids.map((id) => metaData.get('imagePlaneModule', id).imagePositionPatient);
  return { values: Array.from(image.getPixelData()), places };
}
function compare(name, want, got, now) {
  console.info(name + ': should be', want.join(' '), 'is', got.join(' '));
  assert.deepStrictEqual(got, now, name + ' changed');
}
const voxels = [0, 300, 20000];
const of = async (options) => (await read({ voxels, ...options })).values;
compare('no scaling', voxels, await of({}), voxels);
compare('intercept -1024', [-1024, -724, 18976], await of({ slope: 1, inter: -1024 }), voxels);
compare('slope 2.5', [0, 750, 50000], await of({ slope: 2.5 }), voxels);
compare('slope 2.5, intercept -10', [-10, 740, 49990], await of({ slope: 2.5, inter: -10 }), [-10, 740, 49990]);
compare('slope 2, intercept -10', [-10, 590, 39990], await of({ slope: 2, inter: -10 }), [-10, 590, -25546]);
compare('bytes, slope 2, intercept 10', [10, 210, 510],
  await of({ voxels: [0, 100, 250], code: 2, slope: 2, inter: 10 }), [10, 210, 254]);
compare('big endian', voxels, await of({ little: false }), [0, 11265, 8270]);
const many = { voxels: Array(10).fill(0), slices: 10 };
const along = async (rows) => (await read({ ...many, rows })).places[9];
compare('last of ten axial slices', [0, 0, 27], (await along(axial)).map(Math.abs), [0, 0, 27]);
compare('last of ten sagittal slices', [-90 + 27, 0, 0], (await along(sagittal)).map((v) => v + 0), [-85.5, 0, 0]);
JS
node "$d/t.mjs"
