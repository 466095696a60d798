#!/usr/bin/env python3
"""Inputs to begin a fuzz target with, in fuzz/corpus/TARGET: python3 fuzz/seeds.py codecs|dicom|manifest|tuned|zip"""
import io
import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYNTAXES = [["5"], ["4.50", "4.51", "4.57", "4.70"], ["4.80", "4.81"], ["4.90", "4.91", "4.201", "4.203"]]
IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE = (f"1.2.840.10008.1.2{ending}" for ending in ("", ".1", ".2", ".1.99", ".5"))
LONG = ("OB", "OW", "SQ", "UN")


def codecs():
    """Streams of tests/data/codecs with the tags of their frames."""
    source = HERE.parent / "tests/data/codecs"
    for vector in json.loads((source / "list.json").read_text()):
        ending = vector["syntax"].removeprefix("1.2.840.10008.1.2.")
        syntax = next(n for n, endings in enumerate(SYNTAXES) if ending in endings)
        tags = [vector[key] for key in ("rows", "columns", "samples", "bits_allocated", "bits_stored", "signed")]
        stream = (source / vector["stream"]).read_bytes()
        yield vector["stream"].removesuffix(".stream"), bytes([syntax, *tags]) + stream


def element(tag, vr, value, order, explicit=True):
    if isinstance(value, str):
        value = (value + (" " if vr != "UI" else "\0") * (len(value) % 2)).encode()
    elif isinstance(value, int):
        value = struct.pack(f"{order}H", value)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack(f"{order}I", len(value)) + value
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}I", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def dicom_file(syntax, place=0, encapsulated=False, frames=0):
    """A CT slice of 6 x 5 voxels in millimetre `place`, or an image of several frames."""
    order = ">" if syntax == BIG else "<"
    add = lambda *parts: element(*parts, order=order, explicit=syntax != IMPLICIT)
    voxels = struct.pack(f"{order}30H", *((n * 37 + place) % 4096 for n in range(30))) * max(frames, 1)
    body = b"".join([
        add(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"), add(0x00080018, "UI", f"1.2.3.4.{place}"), add(0x00080060, "CS", "CT"),
        add(0x0020000E, "UI", "1.2.3"), add(0x00200013, "IS", str(place)), add(0x00200032, "DS", f"-10\\5.5\\{place}"),
        add(0x00200037, "DS", "1\\0\\0\\0\\1\\0"), add(0x00280002, "US", 1), add(0x00280004, "CS", "MONOCHROME2"),
        add(0x00280008, "IS", str(frames)) if frames else b"", add(0x00280010, "US", 5), add(0x00280011, "US", 6),
        add(0x00280030, "DS", "0.5\\0.75"), add(0x00280100, "US", 16), add(0x00280101, "US", 12), add(0x00280102, "US", 11),
        add(0x00280103, "US", 0), add(0x00281052, "DS", "-1024"), add(0x00281053, "DS", "1"),
    ])
    if encapsulated:
        rle = struct.pack("<16I", 2, 64, 96, *[0] * 13) + b"".join(bytes([29]) + voxels[n:60:2] + b"\0" for n in (1, 0))
        item = lambda tag, content: struct.pack("<HHI", 0xFFFE, tag, len(content)) + content
        body += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item(0xE000, b"") + item(0xE000, rle) + item(0xE0DD, b"")
    else:
        body += add(0x7FE00010, "OW", voxels)
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        body = deflate.compress(body) + deflate.flush()
    meta = element(0x00020010, "UI", syntax, "<")
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta)), "<") + meta + body


def dicom():
    for name, syntax in (("implicit", IMPLICIT), ("explicit", EXPLICIT), ("big", BIG), ("deflated", DEFLATED)):
        yield name, dicom_file(syntax)
    yield "rle", dicom_file(RLE, encapsulated=True)
    yield "frames", dicom_file(EXPLICIT, frames=3)


def archives():
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for place in range(3):
                archive.writestr(f"series/{place}.dcm", dicom_file(EXPLICIT, place))
            archive.writestr("README", "no image")
        yield name, out.getvalue()


def tuned():
    tensors = {"mask_decoder.a": ("F32", [2, 3]), "mask_decoder.b": ("F32", [4])}
    metadata = {"kind": "medsegx-tuned", "base_sha256": "0" * 64, "images_sha256": f"{'1' * 64} {'2' * 64}", "validation": "volumes"}
    header, at = {"__metadata__": metadata}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield "two", struct.pack("<Q", len(text)) + text + struct.pack(f"<{at // 4}f", *(n / 7 for n in range(at // 4)))


def manifests():
    yield "csv", b'image,boxes,rough,task,output,flags\r\na.nii.gz,a.json,,CT_Liver,out/a.nii.gz,"--box 1,2,3,4"\r\n"b,""1"".nii",,r.nii,,,\r\n'
    lines = [{"image": "a.nii.gz", "flags": ["--box", "1,2,3,4"]}, {"image": "b.nii", "boxes": "b.json", "task": "CT_Liver", "flags": "--nan 0"}]
    yield "jsonl", b"\xef\xbb\xbf" + "\n".join(map(json.dumps, lines)).encode()


def main():
    target = sys.argv[1]
    seeds = {"codecs": codecs, "dicom": dicom, "manifest": manifests, "tuned": tuned, "zip": archives}[target]
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
