#!/bin/bash
# @cornerstonejs/calculate-suv 1.1.0 (npm; Node 20; OHIF and Cornerstone3D take their SUV from it): the factors that
# turn the voxels of a PET series, after rescale, into standardised uptake values by body weight (suvbw), lean body mass
# (suvlbm) and body surface (suvbsa). All stand for the same uptake, so suvlbm / suvbw is lean mass / weight.
# Input: 350 MBq of F-18 given at 12:00, scan at 13:00, 70 kg, 1.75 m, male, in the words of DICOM PS3.3 C.8.9.1.
#  1. Units BQML, Decay Correction START: right, all three.
#  2. Decay Correction ADMIN, "radiopharmaceutical administration time": the voxels are corrected to 12:00 already, and
#     the dose to divide by is the one that was given. Seen: the dose left at 13:00, as for START. All values are 1.46
#     times too large. DecayCorrection is asked for, compared between the images, and then not looked at.
#  3. Units GML, voxels that are SUV by weight. suvbw is 1, right. Expected of suvlbm: lean mass / weight, 0.83.
#     Seen: 0.00024. The lean mass is divided by a dose in Bq, as if the voxels were Bq/ml.
#  4. Units CNTS with Philips' private factors, of which its README says "they will be used": 0.0005 or 0.01 SUV a
#     count, or 2.5 Bq/ml a count. Seen: used for suvbw alone; suvlbm and suvbsa are the same whatever the factor is.
# So a lesion's SUL, by which treatment response is judged (PERCIST), is 0.00 in 3 and an arbitrary number in 4.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts @cornerstonejs/calculate-suv@1.1.0
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const { calculateSUVScalingFactors } = require('@cornerstonejs/calculate-suv');
const [dose, halfLife, weight, size] = [350e6, 6586.2, 70, 1.75];
const lean = 1.1 * weight - 120 * (weight / (100 * size)) ** 2;  // James, for men, kg
const surface = 71.84 * weight ** 0.425 * (100 * size) ** 0.725; // Du Bois, cm2
const decayed = dose * 2 ** (-3600 / halfLife);

function factors(fields) {
  const [first, second] = calculateSUVScalingFactors([0, 1].map(() => ({
    CorrectedImage: ['DECY', 'ATTN', 'SCAT'], DecayCorrection: 'START', PatientWeight: weight, PatientSize: size,
    PatientSex: 'M', RadionuclideTotalDose: dose, RadionuclideHalfLife: halfLife,
    RadiopharmaceuticalStartDateTime: '20260105120000', SeriesDate: '20260105', SeriesTime: '130000',
    AcquisitionDate: '20260105', AcquisitionTime: '130000', ...fields })));
  assert.deepStrictEqual(first, second);
  return first;
}
/** uptake: what a voxel of 1 is in Bq/ml per Bq given, in g/ml once it is multiplied by a mass in g */
function compare(name, fields, uptake) {
  const seen = factors(fields);
  const want = { suvbw: uptake * weight * 1000, suvlbm: uptake * lean * 1000, suvbsa: uptake * surface };
  const ratio = {};
  for (const key of Object.keys(want)) {
    ratio[key] = seen[key] / want[key];
    console.log(`${name}: ${key} should be ${want[key].toPrecision(4)}, is ${seen[key].toPrecision(4)}`);
  }
  return ratio;
}
const close = (seen, want) => assert(Math.abs(seen / want - 1) < 1e-9, `${seen}, not ${want}: it changed`);
const all = (ratio, ...want) => ['suvbw', 'suvlbm', 'suvbsa'].forEach((key, i) => close(ratio[key], want[i]));

const late = dose / decayed;
all(compare('BQML, START', { Units: 'BQML' }, 1 / decayed), 1, 1, 1);
all(compare('BQML, ADMIN', { Units: 'BQML', DecayCorrection: 'ADMIN' }, 1 / dose), late, late, late);
assert(late > 1.46 && late < 1.461);

const gml = 1 / (weight * 1000);
const wrong = 1 / decayed / gml;
all(compare('GML', { Units: 'GML' }, gml), 1, wrong, wrong);
assert(wrong < 0.0003);
for (const scale of [0.0005, 0.01]) {
  const philips = { Units: 'CNTS', PhilipsPETPrivateGroup: { SUVScaleFactor: scale } };
  all(compare(`CNTS, ${scale} SUV a count`, philips, scale * gml), 1, wrong / scale, wrong / scale);
}
const activity = { Units: 'CNTS', PhilipsPETPrivateGroup: { ActivityConcentrationScaleFactor: 2.5 } };
all(compare('CNTS, 2.5 Bq/ml a count', activity, 2.5 / decayed), 1, 1 / 2.5, 1 / 2.5);
JS
node "$d/t.js"
