#!/usr/bin/env python3
"""Inputs to begin a fuzz target with, in fuzz/corpus/TARGET: python3 fuzz/seeds.py TARGET"""
import gzip
import io
import json
import pickle
import random
import struct
import sys
import types
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


def jpeg2000():
    """Streams of tests/data/codecs."""
    source = HERE.parent / "tests/data/codecs"
    for vector in json.loads((source / "list.json").read_text()):
        if vector["syntax"].removeprefix("1.2.840.10008.1.2.") in SYNTAXES[3]:
            yield vector["stream"].removesuffix(".stream"), (source / vector["stream"]).read_bytes()


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
    records = {f"series/{place}.dcm": dicom_file(EXPLICIT, place) for place in range(3)} | {"README": "no image"}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        yield name, archive(records, method)


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


def sequence(tag, *items):
    """Of data sets, in explicit little endian"""
    content = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in map(b"".join, items))
    return element(tag, "SQ", content, "<")


def part_10(*elements):
    meta = element(0x00020010, "UI", EXPLICIT, "<")
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta)), "<") + meta + b"".join(elements)


def labels():
    """A SEG of two frames of 9 x 8 voxels, an RTSTRUCT of two contours, and an archive of a mask"""
    add = lambda *parts: element(*parts, order="<")
    frame = lambda place: [
        sequence(0x00209113, [add(0x00200032, "DS", f"0\\0\\{3 * place}")]), sequence(0x0062000A, [add(0x0062000B, "US", 1)]),
    ]
    shared = [
        sequence(0x00209116, [add(0x00200037, "DS", "1\\0\\0\\0\\1\\0")]),
        sequence(0x00289110, [add(0x00180050, "DS", "3"), add(0x00280030, "DS", "1\\1")]),
    ]
    yield "seg", part_10(
        add(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.66.4"), add(0x00080060, "CS", "SEG"), add(0x00280002, "US", 1),
        add(0x00280004, "CS", "MONOCHROME2"), add(0x00280008, "IS", "2"), add(0x00280010, "US", 8), add(0x00280011, "US", 9),
        add(0x00280100, "US", 1), add(0x00280101, "US", 1), add(0x00280102, "US", 0), add(0x00280103, "US", 0),
        add(0x00620001, "CS", "BINARY"), sequence(0x00620002, [add(0x00620004, "US", 1), add(0x00620005, "LO", "liver")]),
        sequence(0x52009229, shared), sequence(0x52009230, frame(1), frame(2)), add(0x7FE00010, "OB", bytes(range(11, 29))),
    )
    contour = lambda z, *points: [
        add(0x30060042, "CS", "CLOSED_PLANAR"), add(0x30060046, "IS", str(len(points))),
        add(0x30060050, "DS", "\\".join(f"{x}\\{y}\\{z}" for x, y in points)),
    ]
    yield "rtstruct", part_10(
        add(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.481.3"), add(0x00080060, "CS", "RTSTRUCT"),
        sequence(0x30060020, [add(0x30060022, "IS", "1"), add(0x30060026, "LO", "liver")]),
        sequence(0x30060039, [
            sequence(0x30060040, contour(3, (1, 1), (6, 1), (6, 5), (1, 5)), contour(6, (2, 2), (5, 2), (3, 6))),
            add(0x30060084, "IS", "1"),
        ]),
    )
    yield "npz", archive({"segs.npy": npy("|u1", (7, 8, 9), bytes(n % 3 for n in range(504)))})


def npy(descr, shape, data):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


def archive(records, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in records.items():
            file.writestr(name, content)
    return out.getvalue()


def boxes():
    yield "list", json.dumps({"version": 1, "targets": [{"task": "CT_Liver", "label": 1, "box3d": [2, 3, 4, 20, 21, 9]}]}).encode()
    slices = {"3": [1, 2, 9, 8], "4": [1, 2, 10, 9]}
    yield "slices", json.dumps([{"name": "liver", "label": 2, "boxes": slices, "points": {"3": [[4, 5, 1]]}}]).encode()
    roi = {"type": "ROI", "coordinateSystem": "LPS", "center": [-5, 4, 110], "size": [6, 8, 9], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
           "controlPoints": [{"position": [-5, 4, 110]}]}
    yield "markups", json.dumps({"@schema": "markups-schema-v1.0.3.json#", "markups": [roi]}).encode()


def boxes_npz():
    yield "picture", archive({"boxes.npy": npy("<i8", (2, 4), struct.pack("<8q", 1, 2, 9, 8, 3, 4, 20, 21))})
    yield "volume", archive({"boxes.npy": npy("<f4", (1, 6), struct.pack("<6f", 1, 2, 3, 9, 8, 7))}, zipfile.ZIP_STORED)


def nifti():
    voxels = struct.pack("<60h", *(n * 5 - 90 for n in range(60)))
    head = struct.pack("<i", 348) + bytes(36) + struct.pack("<8h", 3, 5, 4, 3, 1, 1, 1, 1) + bytes(14) + struct.pack("<hh", 4, 16) + bytes(2)
    head += struct.pack("<8f", 1, 1, 2, 3, 0, 0, 0, 0) + struct.pack("<3f", 352, 1, 0) + bytes(132)
    head += struct.pack("<2h", 1, 1) + bytes(24) + struct.pack("<12f", 1, 0, 0, -2, 0, 2, 0, 5, 0, 0, 3, 7) + bytes(16) + b"n+1\0" + bytes(4)
    assert len(head) == 352
    yield "plain", b"\x02" + head + voxels
    yield "gzip", b"\x12" + head + voxels


def pictures():
    """Chunks as the target `png` takes them: name, length, data."""
    head = struct.pack(">IIBBBBB", 6, 5, 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(range(n, n + 6)) for n in range(5)))
    yield "grey", b"".join(bytes([name, len(content)]) + content for name, content in ((0, head), (1, data), (2, b"")))


def arrays():
    yield "text", b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, 5), }\n\0" + struct.pack("<60h", *range(60))
    yield "file", npy("<f4", (4, 5), struct.pack("<20f", *(n / 7 for n in range(20))))


def rasters():
    """Behind the magic that the target `raster` puts in front."""
    voxels = struct.pack("<60h", *range(60))
    yield "nrrd", (b"type: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 4 3\nspace directions: (1,0,0) (0,1,0) (0,0,3)\n"
                   b"space origin: (0,0,0)\nendian: little\nencoding: gzip\n\n" + gzip.compress(voxels, mtime=0))
    yield "mha", (b"NDims = 3\nBinaryData = True\nCompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
                  b"ElementSpacing = 1 1 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n" + voxels)


def checkpoints():
    """A checkpoint of two tensors as torch.save writes one, without torch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = type("FloatStorage", (), {"__module__": "torch"})
    torch.FloatStorage = storage

    def _rebuild_tensor_v2(*_):
        raise NotImplementedError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})

    class Kept:
        def __init__(self, key, count):
            self.key, self.count = key, count

    class Tensor:
        def __init__(self, key, shape, strides):
            self.parts = (Kept(key, 6), 0, shape, strides, False, {})

        def __reduce__(self):
            return _rebuild_tensor_v2, self.parts

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            return ("storage", storage, thing.key, "cpu", thing.count) if isinstance(thing, Kept) else None

    out = io.BytesIO()
    Pickler(out, 2).dump({"a.weight": Tensor("0", (2, 3), (3, 1)), "a.bias": Tensor("1", (6,), (1,))})
    data = struct.pack("<6f", *(n / 3 for n in range(6)))
    records = {"archive/data.pkl": out.getvalue(), "archive/data/0": data, "archive/data/1": data, "archive/version": b"3\n"}
    yield "two", archive(records, zipfile.ZIP_STORED)


def weights():
    header = json.dumps({"__metadata__": {"kind": "sam"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    header += b" " * (-len(header) % 8)
    yield "one", struct.pack("<Q", len(header)) + header + struct.pack("<6f", *range(6))


def calls():
    """Byte strings for the driver of the C API."""
    for seed in range(24):
        yield f"random{seed}", random.Random(seed).randbytes(40 + 40 * seed)


def kept():
    yield "over", b"\0\x10\0abc"
    yield "cut", b"\1\x40\0"
    yield "same", b"\0\0\0"


def manifests():
    yield "csv", b'image,boxes,rough,task,output,flags\r\na.nii.gz,a.json,,CT_Liver,out/a.nii.gz,"--box 1,2,3,4"\r\n"b,""1"".nii",,r.nii,,,\r\n'
    lines = [{"image": "a.nii.gz", "flags": ["--box", "1,2,3,4"]}, {"image": "b.nii", "boxes": "b.json", "task": "CT_Liver", "flags": "--nan 0"}]
    yield "jsonl", b"\xef\xbb\xbf" + "\n".join(map(json.dumps, lines)).encode()


def main():
    target = sys.argv[1]
    seeds = {
        "boxes": boxes, "boxes_npz": boxes_npz, "capi": calls, "codecs": codecs, "dicom": dicom, "embeddings": kept,
        "jpeg2000": jpeg2000, "labels": labels, "manifest": manifests, "nifti": nifti, "npy": arrays, "png": pictures,
        "pth": checkpoints, "raster": rasters, "safetensors": weights, "tuned": tuned, "zip": archives,
    }[target]
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
