#!/bin/bash
# jpeg-lossless-decoder-js 2.1.2 (npm; Node 20; the decoder of several browser viewers, also used by daikon):
# lossless JPEG (ITU T.81 process 14, DICOM transfer syntax 1.2.840.10008.1.2.4.57) with two things that T.81 annex H
# allows in every stream (mammography files with restart intervals exist):
#  1. A restart interval (DRI) of 4 lines, predictors 1 to 7. After a marker prediction starts afresh: the first sample
#     of the interval is predicted by half the range, the rest of its first line by the left neighbour (H.1.2.1).
#     Seen: predictor 1 right; 2 to 7 wrong in more than half of the samples, as the line above, which belongs to the
#     interval before, is still used.
#  2. A point transform (Al = 2 in the scan header): what is coded is the sample shifted right by two, and a decoder
#     shifts it back (A.4, H.2.1). Seen: neither start value nor output is shifted; all samples wrong.
# Both are silent. Without them the same 12-bit image is decoded exactly with all seven predictors, so the stream's
# other parts are not in question. The encoder below is written after annex H; 17 code words of 5 bits.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
npm install --prefix "$d" --silent --no-audit --no-fund --ignore-scripts jpeg-lossless-decoder-js@2.1.2
cat > "$d/t.js" <<'JS'
const assert = require('assert');
const { Decoder } = require('jpeg-lossless-decoder-js');
const [width, height, precision] = [16, 12, 12];
const image = Array.from({ length: width * height }, (_, i) => (i * i * 7 + i * 311) % (1 << precision));

function encode(predictor, interval, shift) {
  const word = (v) => [v >> 8, v & 255];
  const counts = Array.from({ length: 16 }, (_, i) => (i === 4 ? 17 : 0));
  const out = [0xFF, 0xD8, 0xFF, 0xC3, ...word(11), precision, ...word(height), ...word(width), 1, 1, 0x11, 0,
    0xFF, 0xC4, ...word(36), 0, ...counts, ...Array(17).keys()];
  if (interval) out.push(0xFF, 0xDD, ...word(4), ...word(interval * width));
  out.push(0xFF, 0xDA, ...word(8), 1, 1, 0, predictor, 0, shift);
  let bits = '';
  const flush = () => {
    for (bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1'); bits; bits = bits.slice(8)) {
      const byte = parseInt(bits.slice(0, 8), 2);
      out.push(byte, ...(byte === 255 ? [0] : []));
    }
  };
  const at = (y, x) => image[y * width + x] >> shift;
  for (let y = 0, first = 0; y < height; y++) {
    if (interval && y && y % interval === 0) { flush(); out.push(0xFF, 0xD0 + (y / interval - 1) % 8); first = y; }
    for (let x = 0; x < width; x++) {
      let guess;
      if (y === first) guess = x ? at(y, x - 1) : 1 << (precision - shift - 1);
      else if (!x) guess = at(y - 1, x);
      else {
        const [a, b, c] = [at(y, x - 1), at(y - 1, x), at(y - 1, x - 1)];
        guess = [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1][predictor - 1];
      }
      const difference = at(y, x) - guess;
      const size = difference ? Math.floor(Math.log2(Math.abs(difference))) + 1 : 0;
      bits += size.toString(2).padStart(5, '0');
      if (size) bits += (difference < 0 ? difference + (1 << size) - 1 : difference).toString(2).padStart(size, '0');
    }
  }
  flush();
  return Uint8Array.from([...out, 0xFF, 0xD9]).buffer;
}
function wrong(predictor, interval, shift) {
  const stream = encode(predictor, interval, shift);
  const got = new Uint16Array(new Decoder().decompress(stream, 0, stream.byteLength));
  assert.strictEqual(got.length, image.length);
  return image.filter((v, i) => (v >> shift << shift) !== got[i]).length;
}
const predictors = [1, 2, 3, 4, 5, 6, 7];
const plain = predictors.map((p) => wrong(p, 0, 0));
const restart = predictors.map((p) => wrong(p, 4, 0));
const transform = predictors.map((p) => wrong(p, 0, 2));
console.log(`wrong samples of ${image.length} with predictors ${predictors}:`);
console.log(`plain ${plain}\nrestart every 4 lines ${restart}\npoint transform 2 ${transform}`);
assert(plain.every((n) => n === 0));
assert(restart[0] === 0 && restart.slice(1).every((n) => n > image.length / 2), 'restart intervals changed');
assert(transform.every((n) => n === image.length), 'the point transform changed');
JS
node "$d/t.js"
