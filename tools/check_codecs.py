#!/usr/bin/env python3
"""Compressed DICOM frames by other encoders, with what they have to decode to.

    python3 tools/check_codecs.py target/codec-vectors           # --small tests/data/codecs: the few that are kept there
    MEDSEGX_CODEC_VECTORS=$PWD/target/codec-vectors cargo test --release --test it -- codecs::made_by_others

Encoders: libjpeg-turbo, OpenJPEG, OpenJPH and CharLS (imagecodecs), GDCM (python-gdcm), DCMTK's dcmcjpeg, dcmcjpls and
dcmcrle and OpenJPEG's opj_compress where they are installed, and 40 lines below for what none of them writes: restart
intervals and point transforms of lossless JPEG. What is wanted is the picture that went in; of lossy streams it is what
libjpeg-turbo and OpenJPEG make of them.
"""
import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import generate_frames

SYNTAX = {
    "rle": "1.2.840.10008.1.2.5",
    "baseline": "1.2.840.10008.1.2.4.50",
    "extended": "1.2.840.10008.1.2.4.51",
    "lossless": "1.2.840.10008.1.2.4.57",
    "lossless1": "1.2.840.10008.1.2.4.70",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "jpegls-near": "1.2.840.10008.1.2.4.81",
    "j2k": "1.2.840.10008.1.2.4.90",
    "j2k-lossy": "1.2.840.10008.1.2.4.91",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "htj2k-lossy": "1.2.840.10008.1.2.4.203",
}


class Vectors:
    """Streams and wanted samples in a folder, and a list of them."""

    def __init__(self, folder):
        self.folder, self.list = folder, []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(self, name, syntax, stream, wanted, stored=None, tolerance=0):
        """`wanted`: [rows, columns(, samples)] of the words' type; `stored`: bits stored, if not all."""
        number = len(self.list)
        allocated = wanted.dtype.itemsize * 8
        (self.folder / f"{number}.stream").write_bytes(stream)
        (self.folder / f"{number}.wanted").write_bytes(wanted.astype(wanted.dtype.newbyteorder("<")).tobytes())
        self.list.append({
            "name": name, "syntax": SYNTAX.get(syntax, syntax), "stream": f"{number}.stream",
            "wanted": f"{number}.wanted", "rows": wanted.shape[0], "columns": wanted.shape[1],
            "samples": wanted.shape[2] if wanted.ndim == 3 else 1, "bits_allocated": allocated,
            "bits_stored": stored or allocated, "signed": wanted.dtype.kind == "i", "tolerance": tolerance,
        })

    def write(self):
        (self.folder / "list.json").write_text(json.dumps(self.list, indent=1) + "\n")


def picture(random, shape, dtype, bits=None):
    """A slope with noise that uses the whole range of `bits`, both ends among it."""
    info = np.iinfo(dtype)
    bits = bits or info.bits
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if info.min < 0 else (0, (1 << bits) - 1)
    slope = np.indices(shape).sum(0) * ((high - low) / sum(shape)) + low
    noisy = slope + random.normal(0, (high - low) / 50, shape)
    noisy[0, 0], noisy[-1, -1] = high, low
    return np.clip(np.rint(noisy), low, high).astype(dtype)


def lossless_jpeg(planes, precision, predictor=1, shift=0, restart_rows=0):
    """Lossless JPEG (T.81 annex H) of interleaved planes, with one Huffman code of 17 codes of 5 bits."""
    rows, columns = planes[0].shape
    out = bytearray(b"\xff\xd8\xff\xc4" + (2 + 17 + 17).to_bytes(2, "big") + b"\0")
    out += bytes([0] * 4 + [17] + [0] * 11) + bytes(range(17))
    out += b"\xff\xc3" + (8 + 3 * len(planes)).to_bytes(2, "big") + bytes([precision])
    out += rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes([len(planes)])
    out += b"".join(bytes([c + 1, 0x11, 0]) for c in range(len(planes)))
    if restart_rows:
        out += b"\xff\xdd\0\x04" + (restart_rows * columns).to_bytes(2, "big")
    out += b"\xff\xda" + (6 + 2 * len(planes)).to_bytes(2, "big") + bytes([len(planes)])
    out += b"".join(bytes([c + 1, 0]) for c in range(len(planes))) + bytes([predictor, 0, shift])
    bits = ""
    planes = [(p.astype(np.int64) & 0xFFFF) >> shift for p in planes]

    def flush(bits):
        bits += "1" * (-len(bits) % 8)
        return int(bits or "0", 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    for y in range(rows):
        if restart_rows and y and y % restart_rows == 0:
            out += flush(bits) + bytes([0xFF, 0xD0 + (y // restart_rows - 1) % 8])
            bits = ""
        for x in range(columns):
            for p in planes:
                top = y % restart_rows == 0 if restart_rows else y == 0
                if top:
                    guess = p[y, x - 1] if x else 1 << (precision - shift - 1)
                elif x == 0:
                    guess = p[y - 1, x]
                else:
                    a, b, c = p[y, x - 1], p[y - 1, x], p[y - 1, x - 1]
                    guess = [a, b, c, a + b - c, a + (b - c >> 1), b + (a - c >> 1), a + b >> 1][predictor - 1]
                d = int(p[y, x] - guess) & 0xFFFF
                if d == 0x8000:
                    bits += f"{16:05b}"
                    continue
                d -= (d > 0x8000) << 16
                size = abs(d).bit_length()
                bits += f"{size:05b}" + (f"{d if d > 0 else d + (1 << size) - 1:0{size}b}" if size else "")
    return bytes(out + flush(bits) + b"\xff\xd9")


def own(vectors, random):
    for predictor in range(1, 8):
        for bits, dtype in [(2, np.uint8), (7, np.uint8), (8, np.uint8), (8, np.uint16), (12, np.uint16),
                            (12, np.int16), (16, np.uint16), (16, np.int16)]:
            for restart, shift in [(0, 0), (1, 0), (8, 0), (0, 1), (5, 1)]:
                a = picture(random, (19, 23), dtype, bits)
                a = a >> shift << shift
                word = a.astype(np.int64) & ((1 << bits) - 1)
                # Of signed samples the stream has the low bits; above them words are zero.
                wanted = a if bits == 16 else word.astype(a.dtype)
                name = f"lossless JPEG: predictor {predictor}, {bits} bits of {a.dtype}, restart {restart}, shift {shift}"
                vectors.add(name, "lossless", lossless_jpeg([word], bits, predictor, shift, restart), wanted, bits)
        colour = picture(random, (13, 17, 3), np.uint8)
        planes = [colour[..., c] for c in range(3)]
        for restart in (0, 2):
            name = f"lossless JPEG: colour, predictor {predictor}, restart {restart}"
            vectors.add(name, "lossless", lossless_jpeg(planes, 8, predictor, 0, restart), colour)


def turbo(vectors, random):
    for bits, dtype in [(8, np.uint8), (12, np.uint16), (16, np.uint16)]:
        a = picture(random, (61, 47), dtype, bits)
        for predictor in range(1, 8):
            stream = imagecodecs.jpeg8_encode(a, lossless=True, predictor=predictor, bitspersample=bits)
            vectors.add(f"libjpeg-turbo lossless, {bits} bits, predictor {predictor}", "lossless", stream, a, bits)
    for quality in (50, 95, 100):
        for shape in [(64, 64), (61, 47), (7, 5)]:
            a = picture(random, shape, np.uint8)
            stream = imagecodecs.jpeg8_encode(a, level=quality)
            vectors.add(f"libjpeg-turbo grey {shape}, quality {quality}", "baseline", stream,
                        imagecodecs.jpeg8_decode(stream))
            a = picture(random, shape, np.uint16, 12)
            stream = imagecodecs.jpeg8_encode(a, level=quality, bitspersample=12)
            vectors.add(f"libjpeg-turbo 12 bits {shape}, quality {quality}", "extended", stream,
                        imagecodecs.jpeg8_decode(stream), 12)
            a = picture(random, (*shape, 3), np.uint8)
            for sampling in ("444", "422", "420", "440"):
                stream = imagecodecs.jpeg8_encode(a, level=quality, subsampling=sampling)
                wanted = imagecodecs.jpeg8_decode(stream, colorspace="YCBCR", outcolorspace="YCBCR")
                vectors.add(f"libjpeg-turbo {sampling} {shape}, quality {quality}", "baseline", stream, wanted)
    vectors.add("libjpeg-turbo, 10 bits in 12", "extended", *overshooting(random, (64, 64)), 10)


def overshooting(random, shape):
    """Lossy samples of 12 bits, some a little above the 10 bits that the tags have: they are cut."""
    stream = imagecodecs.jpeg8_encode(picture(random, shape, np.uint16, 10), level=30, bitspersample=12)
    wanted = imagecodecs.jpeg8_decode(stream)
    assert wanted.max() > 1023
    return stream, np.minimum(wanted, 1023)


def charls(vectors, random):
    for bits in range(2, 17):
        a = picture(random, (37, 41), np.uint8 if bits <= 8 else np.uint16, bits)
        vectors.add(f"CharLS, values of {bits} bits", "jpegls", imagecodecs.jpegls_encode(a), a, bits)
        flat = np.full_like(a, 1)
        vectors.add(f"CharLS, 1 everywhere, {a.dtype} {bits}", "jpegls", imagecodecs.jpegls_encode(flat), flat, bits)
        if bits > 6:
            stream = imagecodecs.jpegls_encode(a, level=3)
            wanted = imagecodecs.jpegls_decode(stream)
            vectors.add(f"CharLS, values of {bits} bits, near 3", "jpegls-near", stream, wanted, bits)
    a = picture(random, (37, 41), np.uint16)
    stream = imagecodecs.jpegls_encode(a)
    assert stream.endswith(b"\xff\xd9")
    vectors.add("CharLS, a fill byte before the end", "jpegls", stream[:-2] + b"\xff\xff\xd9", a)


def jpeg2000(vectors, random):
    # 9/7 is floating point: two builds of OpenJPEG differ by 1 too.
    for shape in [(64, 64), (37, 41), (29, 31, 3)]:
        for dtype in (np.uint8, np.int8, np.uint16, np.int16):
            if len(shape) == 3 and dtype in (np.int8, np.int16):
                continue
            a = picture(random, shape, dtype)
            stream = imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=0)
            vectors.add(f"OpenJPEG {shape} {a.dtype}", "j2k", stream, a)
            stream = imagecodecs.jpeg2k_encode(a, codecformat="jp2", level=0)
            vectors.add(f"OpenJPEG JP2 {shape} {a.dtype}", "j2k", stream, a)
            stream = imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=45, reversible=False)
            vectors.add(f"OpenJPEG 9/7 {shape} {a.dtype}", "j2k-lossy", stream, imagecodecs.jpeg2k_decode(stream),
                        tolerance=1)
            stream = imagecodecs.htj2k_encode(a)
            vectors.add(f"OpenJPH {shape} {a.dtype}", "htj2k", stream, a)
            stream = imagecodecs.htj2k_encode(a, reversible=False)
            wanted = imagecodecs.jpeg2k_decode(stream)
            vectors.add(f"OpenJPH 9/7 {shape} {a.dtype}", "htj2k-lossy", stream, wanted, tolerance=1)
    for bits in (2, 7, 10, 12, 14):
        a = picture(random, (37, 41), np.uint16, bits)
        vectors.add(f"OpenJPEG, {bits} bits", "j2k",
                    imagecodecs.jpeg2k_encode(a, codecformat="j2k", level=0, bitspersample=bits), a, bits)
    # A stream without sign whose tags have one: the words are two's complement.
    a = picture(random, (37, 41), np.int16, 12)
    word = (a & 0xFFF).astype(np.uint16)
    stream = imagecodecs.jpeg2k_encode(word, codecformat="j2k", level=0, bitspersample=12)
    vectors.add("OpenJPEG, 12 bits, the sign in the tags only", "j2k", stream, word.astype(np.int16), 12)


def opj_compress(vectors, random):
    if not shutil.which("opj_compress"):
        print("SKIPPED opj_compress: it is not there")
        return
    options = ["-t 32,32 -n 3", "-t 32,32 -n 3 -TP R", *(f"-M {1 << n}" for n in range(6)), "-M 63", "-p RLCP",
               "-p RPCL", "-p PCRL", "-p CPRL", "-r 8,4,1", "-c [32,32],[32,32] -n 2", "-ROI c=0,U=5", "-SOP -EPH",
               "-d 3,5", "-n 1", "-b 4,4", "-n 6 -POC T0=0,0,1,3,1,RLCP/T0=3,0,1,6,1,CPRL", "-PLT",
               "-TLM -t 32,32 -n 3"]
    for bits, dtype in [(8, np.uint8), (12, np.uint16), (16, np.uint16)]:
        a = picture(random, (75, 83), dtype, bits)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "a.pgm"
            words = a.astype(">u2") if bits > 8 else a
            source.write_bytes(b"P5\n83 75\n%d\n" % ((1 << bits) - 1) + words.tobytes())
            for option in options:
                target = Path(folder) / "a.j2k"
                run = ["opj_compress", "-i", source, "-o", target, *option.split()]
                subprocess.run(run, check=True, capture_output=True)
                vectors.add(f"opj_compress {option}, {bits} bits", "j2k", target.read_bytes(), a, bits)


def dicom_file(path, a, stored, photometric):
    """An uncompressed DICOM file of the frames `a`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds = pydicom.Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3", "1.2.3.1", "OT"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = a.shape[0], a.shape[1], a.shape[2] if a.ndim == 3 else 1
    ds.PhotometricInterpretation = photometric
    if a.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = a.dtype.itemsize * 8, stored, stored - 1
    ds.PixelRepresentation = int(a.dtype.kind == "i")
    ds.PixelData = a.tobytes() + b"\0" * (a.nbytes % 2)
    ds["PixelData"].VR = "OW" if a.dtype.itemsize > 1 else "OB"
    ds.save_as(path, enforce_file_format=True)


def toolkits(vectors, random):
    """Files that DCMTK and GDCM compress."""
    commands = []
    if shutil.which("dcmcjpeg"):
        commands += [("DCMTK", ["dcmcjpeg", "+e1"]), ("DCMTK", ["dcmcrle"]), ("DCMTK", ["dcmcjpls"])]
        commands += [("DCMTK", ["dcmcjpeg", "+el", "+sv", str(n)]) for n in range(1, 8)]
    else:
        print("SKIPPED DCMTK's encoders: they are not there")
    if shutil.which("gdcmconv"):
        commands += [("GDCM", ["gdcmconv", f"--{c}"]) for c in ("jpeg", "jpegls", "j2k")]
    else:
        print("SKIPPED GDCM's encoders: they are not there")
    pictures = [(picture(random, (33, 35), dtype, bits), bits, "MONOCHROME2")
                for dtype, bits in [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.int16, 12)]]
    pictures.append((picture(random, (33, 35, 3), np.uint8), 8, "RGB"))
    for a, bits, photometric in pictures:
        for name, command in commands:
            with tempfile.TemporaryDirectory() as folder:
                source, target = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
                dicom_file(source, a, bits, photometric)
                subprocess.run([*command, source, target], check=True, capture_output=True)
                ds = pydicom.dcmread(target)
            if a.ndim == 3 and ("dcmcjpls" in command or "--jpegls" in command):
                continue
            frame = next(generate_frames(ds.PixelData, number_of_frames=1))
            tag = f"{' '.join(command)}, {bits} bits of {a.dtype}, {photometric}"
            vectors.add(f"{name}: {tag}", ds.file_meta.TransferSyntaxUID, frame, a, bits)


def small(vectors, random):
    """One small stream of each kind."""
    shape = (21, 18)
    grey, wide = picture(random, shape, np.uint8), picture(random, shape, np.int16, 16)
    twelve, colour = picture(random, shape, np.uint16, 12), picture(random, (*shape, 3), np.uint8)
    stream = imagecodecs.jpeg8_encode(grey, level=90)
    vectors.add("baseline", "baseline", stream, imagecodecs.jpeg8_decode(stream))
    stream = imagecodecs.jpeg8_encode(colour, level=90, subsampling="420")
    wanted = imagecodecs.jpeg8_decode(stream, colorspace="YCBCR", outcolorspace="YCBCR")
    vectors.add("baseline, 4:2:0", "baseline", stream, wanted)
    stream = imagecodecs.jpeg8_encode(twelve, level=90, bitspersample=12)
    vectors.add("extended, 12 bits", "extended", stream, imagecodecs.jpeg8_decode(stream), 12)
    word = wide.view(np.uint16)
    vectors.add("lossless", "lossless1", imagecodecs.jpeg8_encode(word, lossless=True, bitspersample=16), wide)
    vectors.add("lossless, predictor 6, restarts", "lossless", lossless_jpeg([twelve], 12, 6, 0, 4), twelve, 12)
    vectors.add("lossless, 8 bits in 16", "lossless", lossless_jpeg([grey], 8, 4), grey.astype(np.uint16), 8)
    planes = [colour[..., c] for c in range(3)]
    vectors.add("lossless, colour", "lossless", lossless_jpeg(planes, 8, 7), colour)
    vectors.add("JPEG-LS", "jpegls", imagecodecs.jpegls_encode(twelve), twelve, 12)
    vectors.add("JPEG-LS, near", "jpegls-near", (ls := imagecodecs.jpegls_encode(grey, level=2)),
                imagecodecs.jpegls_decode(ls))
    vectors.add("JPEG 2000, signed", "j2k", imagecodecs.jpeg2k_encode(wide, codecformat="j2k", level=0), wide)
    vectors.add("JPEG 2000, colour", "j2k", imagecodecs.jpeg2k_encode(colour, codecformat="j2k", level=0), colour)
    stream = imagecodecs.jpeg2k_encode(twelve, codecformat="j2k", level=0, bitspersample=12)
    vectors.add("JPEG 2000, 12 bits", "j2k", stream, twelve, 12)
    vectors.add("HTJ2K", "htj2k", imagecodecs.htj2k_encode(wide), wide)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.dcm"
        for name, a in [("RLE, signed", wide), ("RLE, colour", colour)]:
            dicom_file(source, a, a.dtype.itemsize * 8, "RGB" if a.ndim == 3 else "MONOCHROME2")
            ds = pydicom.dcmread(source)
            ds.compress(SYNTAX["rle"], encoding_plugin="pydicom")
            vectors.add(name, "rle", next(generate_frames(ds.PixelData, number_of_frames=1)), a)
    stream, wanted = overshooting(random, shape)
    vectors.add("extended, 10 bits in 12", "extended", stream, wanted, 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true", help="one stream of each kind")
    arguments = parser.parse_args()
    vectors = Vectors(arguments.folder)
    random = np.random.default_rng(20261128)
    if arguments.small:
        small(vectors, random)
        vectors.write()
        return
    for part in (own, turbo, charls, jpeg2000, opj_compress, toolkits):
        before = len(vectors.list)
        part(vectors, random)
        print(f"{part.__name__}: {len(vectors.list) - before} streams")
    vectors.write()


if __name__ == "__main__":
    main()
