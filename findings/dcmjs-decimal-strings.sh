#!/bin/bash
# dcmjs 0.52.2 (npm; Node 20): numbers written as DICOM decimal strings (DS).
# DICOM PS3.5 section 6.2: a DS has at most 16 characters and may have an exponent, so a writer must shorten the
# fraction of a longer number: 6.123233995736766e-17 becomes 6.1232339957e-17.
# Input: the orientation of a sagittal slice computed as people do, by Math.cos(Math.PI / 2), which is
# 6.123233995736766e-17 and not 0; a dose scaling of a third of a millionth; both through datasetToDict() and back.
# Seen: the text of 21 characters is cut after 16, and the exponent goes with the rest: 6.12323399573676. A vector of
# length 1 gets length 6.2, the dose is ten million times too large, 123456789012345680000 becomes 1234567890123456.
# A line "Truncating value ..." goes to the log, the file is written and is formally valid. 0.1 + 0.2 and 1 / 3, which
# have no exponent, lose only their last digits, so tests with ordinary numbers pass.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts dcmjs@0.52.2
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const dcmjs = require('dcmjs');
const { DicomMessage, DicomMetaDictionary, datasetToDict } = dcmjs.data;
const dataset = {
  _meta: { TransferSyntaxUID: { vr: 'UI', Value: ['1.2.840.10008.1.2.1'] } },
  SOPClassUID: '1.2.840.10008.5.1.4.1.1.481.2',
  SOPInstanceUID: '1.2.3.4',
  ImageOrientationPatient: [Math.cos(Math.PI / 2), 1, 0, 0, Math.cos(Math.PI / 2), -1],
  ImagePositionPatient: [0.1 + 0.2, 1 / 3, 123456789012345680000],
  DoseGridScaling: 1e-6 / 3,
};
const bytes = datasetToDict(dataset).write();
const back = DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(bytes).dict);
for (const name of ['ImageOrientationPatient', 'ImagePositionPatient', 'DoseGridScaling']) {
  console.log(name, 'should be', dataset[name], 'is', back[name]);
}
const close = (a, b) => Math.abs(a - b) <= 1e-12 * Math.abs(b);
assert(close(back.ImagePositionPatient[0], 0.3) && close(back.ImagePositionPatient[1], 1 / 3));
assert.deepStrictEqual(Array.from(back.ImageOrientationPatient), [6.12323399573676, 1, 0, 0, 6.12323399573676, -1],
  'the orientation is written otherwise now');
assert.strictEqual(back.DoseGridScaling, 3.33333333333333, 'the scaling is written otherwise now');
assert.strictEqual(back.ImagePositionPatient[2], 1234567890123456, 'large numbers are written otherwise now');
JS
node "$d/t.js"
