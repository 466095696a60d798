#!/usr/bin/env python3
"""A picture of one slice, alone and with its mask in colour: `preview.py IMAGE MASK OUT.png --slice K`. Needs numpy and
nibabel. The README's picture is

    python3 tools/preview.py tests/data/phantom.nii.gz organs.nii.gz tests/data/phantom_preview.png --slice 12
"""

import argparse
import struct
import zlib

import nibabel
import numpy as np

COLOURS = np.array([[0, 0, 0], [255, 80, 80], [80, 255, 80], [80, 80, 255], [255, 255, 80], [255, 80, 255], [80, 255, 255],
                    [255, 160, 60]])
WINDOW = (-200.0, 300.0)


def write_png(path, rgb):
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("mask")
    parser.add_argument("out")
    parser.add_argument("--slice", type=int, required=True)
    parser.add_argument("--zoom", type=int, default=2)
    arguments = parser.parse_args()
    image, mask = (nibabel.load(path).dataobj[:, :, arguments.slice].T for path in (arguments.image, arguments.mask))
    low, high = WINDOW
    grey = np.clip((image.astype(float) - low) / (high - low) * 255, 0, 255)[..., None].repeat(3, 2)
    colour = COLOURS[mask % len(COLOURS)]
    over = np.where((mask > 0)[..., None], 0.55 * grey + 0.45 * colour, grey)
    picture = np.concatenate([grey, over], 1)[::-1].astype(np.uint8)
    write_png(arguments.out, picture.repeat(arguments.zoom, 0).repeat(arguments.zoom, 1))


if __name__ == "__main__":
    main()
