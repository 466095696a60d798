#!/usr/bin/env python3
"""Checks that nibabel and SimpleITK each read a mask of `medsegx segment` where they read its image, bit for bit.

    python3 tools/check_geometry.py [--medsegx target/release/medsegx] [--shared ../shared] [--keep DIR]

The images are every NIfTI file below ../shared/data and a matrix of odd files made here. The weights are synthetic, so
what is segmented means nothing; where it lies is what counts. A tool that refuses an image has to refuse its mask too.
Needs numpy, nibabel and SimpleITK.
"""
import argparse
import contextlib
import gzip
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import nibabel
import numpy
import SimpleITK

DIMS = (9, 8, 7)
SLICE = 3

# Offsets of nifti1.h and nifti2.h: the formats of what the matrix changes.
FIELDS = {
    1: {"datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "f"),
        "vox_offset": (108, "f"), "slope": (112, "f"), "inter": (116, "f"), "units": (123, "B"),
        "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "f"), "qoffset": (268, "f"), "srow": (280, "f")},
    2: {"datatype": (12, "h"), "bitpix": (14, "h"), "pixdim": (104, "d"),
        "vox_offset": (168, "q"), "slope": (176, "d"), "inter": (184, "d"), "units": (500, "i"),
        "qform_code": (344, "i"), "sform_code": (348, "i"), "quatern": (352, "d"), "qoffset": (376, "d"), "srow": (400, "d")},
}


def rotation(degrees, axis):
    """Rotation about a voxel axis, with a translation."""
    c, s = numpy.cos(numpy.radians(degrees)), numpy.sin(numpy.radians(degrees))
    a, b = [i for i in range(3) if i != axis]
    matrix = numpy.eye(4)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


STRAIGHT = numpy.array([[-1.5, 0, 0, 61.25], [0, 2, 0, -72.5], [0, 0, 3.125, 8.75], [0, 0, 0, 1]])
OBLIQUE = rotation(12, 0) @ rotation(-7, 1) @ rotation(33, 2) @ STRAIGHT
TILTED = STRAIGHT @ numpy.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SAGITTAL = numpy.array([[0, 0, 3.125, 1], [1.5, 0, 0, 2], [0, -2, 0, 3], [0, 0, 0, 1]])


def image(version=1, dtype="<i2", affine=STRAIGHT, q=1, s=1, dims=DIMS, **fields):
    """The bytes of a NIfTI file: nibabel's, then patched field by field."""
    kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
    header = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}[version](endianness=dtype[0])
    values = (numpy.arange(numpy.prod(dims)).reshape(dims, order="F") % 97).astype(dtype)
    made = kind(values, affine, header, dtype=numpy.dtype(dtype))
    made.set_qform(affine, q)
    made.set_sform(affine, s)
    made.header["xyzt_units"] = 2
    if "extension" in fields:
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, fields.pop("extension")))
    made.update_header()
    return patched(made.to_bytes(), version, dtype[0], **fields)


def patched(data, version, order, **fields):
    data = bytearray(data)
    for name, value in fields.items():
        at, code = FIELDS[version][name]
        values = numpy.atleast_1d(value).tolist()
        struct.pack_into(f"{order}{len(values)}{code}", data, at, *values)
    return bytes(data)


def extents(path):
    """Voxels along i, j, k, straight from the header: some tool may refuse the file."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    order = "<" if data[0] in (348 & 255, 540 & 255) else ">"
    at, code = (40, "h") if struct.unpack_from(f"{order}i", data)[0] == 348 else (16, "q")
    rank, *dims = struct.unpack_from(f"{order}8{code}", data, at)
    return (dims[:rank] + [1, 1])[:3]


def gap(version):
    """A file whose voxels begin 16 bytes later than they need to, without an extension."""
    data = image(version)
    start = {1: 352, 2: 544}[version]
    return patched(data[:start] + bytes(16) + data[start:], version, "<", vox_offset=start + 16)


def matrix():
    """Name, file suffix, bytes and further arguments of each odd file."""
    cases = []
    for version in (1, 2):
        def add(name, data, suffix=".nii", arguments=(), version=version):
            cases.append((f"NIfTI-{version} {name}", suffix, data, list(arguments)))
        make = lambda version=version, **options: image(version, **options)
        add("both forms", make())
        add("gzip", gzip.compress(make(), mtime=0), ".nii.gz")
        add("two gzip members", gzip.compress(make()[:600]) + gzip.compress(make()[600:]), ".nii.gz")
        add("big endian", make(dtype=">i2"))
        add("big endian, gzip, oblique", gzip.compress(make(dtype=">f4", affine=OBLIQUE)), ".nii.gz")
        add("qform only", make(q=1, s=0, affine=OBLIQUE))
        add("sform only", make(q=0, s=2, affine=OBLIQUE))
        add("neither form", make(q=0, s=0))
        add("forms that differ", make(q=1, s=2, qoffset=[5, 6, 7]))
        add("codes scanner and MNI", make(q=1, s=4))
        add("codes not defined", make(qform_code=-1, sform_code=9))
        add("slope and intercept", make(slope=0.5, inter=-1024))
        add("slope 0", make(slope=0, inter=3))
        add("slope NaN", make(slope=numpy.nan, inter=numpy.nan))
        add("oblique", make(affine=OBLIQUE))
        add("sagittal", make(affine=SAGITTAL))
        add("tilted, sform", make(q=0, affine=TILTED))
        add("tilted, both forms", make(affine=TILTED))
        add("qfac -1", make(q=1, s=0, affine=STRAIGHT @ numpy.diag([1, 1, -1, 1])))
        add("qfac 0", patched(make(s=0), version, "<", pixdim=0))
        add("pixdim negative", patched(make(s=0), version, "<", pixdim=[1, -1.5, 2, 3.125]))
        add("pixdim 0", patched(make(s=0), version, "<", pixdim=[1, 0, 2, 3.125]))
        add("quaternion too long", make(s=0, quatern=[0.9, 0.9, 0]))
        add("sform singular", make(q=0, srow=[0.0] * 12))
        add("sform with spacing unlike pixdim", make(q=0, pixdim=[1, 1, 1, 1]))
        add("metres", make(units=1))
        add("micrometres and seconds", make(units=3 | 8))
        add("4-D, one time point", make(dims=DIMS + (1,)))
        add("4-D, three time points", make(dims=DIMS + (3,)), arguments=["--volume", "2"])
        add("4-D, three time points, oblique qform", make(dims=DIMS + (3,), affine=OBLIQUE, s=0), arguments=["--volume", "0"])
        add("5-D of ones", make(dims=DIMS + (1, 1)))
        add("2-D", make(dims=DIMS[:2]))
        add("one slice", make(dims=DIMS[:2] + (1,)))
        add("extension", make(extension=b"<xml>something</xml>"))
        add("extension, big endian, gzip", gzip.compress(make(dtype=">i4", extension=b"x" * 1000)), ".nii.gz")
        add("voxels after a gap", gap(version))
        for name, dtype in [("uint8", "<u1"), ("int8", "<i1"), ("uint16", "<u2"), ("int32", "<i4"), ("uint32", "<u4"),
                            ("int64", "<i8"), ("uint64", "<u8"), ("float32", "<f4"), ("float64", ">f8")]:
            add(name, make(dtype=dtype))
        colour = make(dtype="<u1", affine=OBLIQUE) + bytes(2 * int(numpy.prod(DIMS)))
        add("RGB", patched(colour, version, "<", datatype=128, bitpix=24))
        add("gzip named .nii", gzip.compress(make(affine=OBLIQUE)), ".nii")
        add("not gzip, named .nii.gz", make(affine=OBLIQUE), ".nii.gz")
        add("name with dots", make(), ".001.seg.nii")
    return cases


@contextlib.contextmanager
def silence():
    """The C libraries inside SimpleITK write to the process's stderr."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def bits(values):
    return numpy.ascontiguousarray(values).tobytes().hex()


def read_nibabel(path):
    """All that nibabel says of space, as comparable bits, and the voxels."""
    with silence():
        loaded = nibabel.load(path)
        voxels = numpy.asarray(loaded.dataobj)
    header = loaded.header
    shape = loaded.shape if numpy.prod(loaded.shape[3:]) == 1 else loaded.shape[:3]
    space = {"class": type(loaded).__name__, "byte order": header.endianness, "shape": shape, "affine": bits(loaded.affine),
             "codes": nibabel.aff2axcodes(loaded.affine), "zooms": bits(header.get_zooms()[:3])}
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                  "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):
        space[field] = bits(header[field])
    with contextlib.suppress(nibabel.spatialimages.HeaderDataError):
        space["qform"] = bits(header.get_qform())
    return space, voxels


def read_itk(path):
    """All that SimpleITK says of space, as comparable bits, and the voxels in NIfTI's order of axes."""
    with silence():
        loaded = SimpleITK.ReadImage(str(path))
    rank, size = loaded.GetDimension(), loaded.GetSize()
    several = rank == 4 and size[3] > 1
    kept = 3 if several else rank
    direction = numpy.array(loaded.GetDirection()).reshape(rank, rank)[:kept, :kept]
    space = {"size": size[:kept], "spacing": bits(loaded.GetSpacing()[:kept]), "origin": bits(loaded.GetOrigin()[:kept]),
             "direction": bits(direction)}
    return space, SimpleITK.GetArrayFromImage(loaded).T


READERS = {"nibabel": read_nibabel, "SimpleITK": read_itk}


def attempt(reader, path):
    try:
        return (*reader(path), None)
    except Exception as refusal:  # whatever a tool refuses with counts as a refusal
        return None, None, str(refusal).strip().splitlines()[-1]


def compare(name, image_path, mask_path, index):
    """Problems, and who refuses both image and mask why."""
    problems, refused, arrays = [], [], {}
    for tool, reader in READERS.items():
        of_image, _, image_refusal = attempt(reader, image_path)
        of_mask, voxels, mask_refusal = attempt(reader, mask_path)
        if image_refusal or mask_refusal:
            if not (image_refusal and mask_refusal):
                problems.append(f"{tool}: image {image_refusal or 'read'}, mask {mask_refusal or 'read'}")
            else:
                reason = image_refusal.replace(str(image_path), "the file")
                refused.append((f"{tool} refuses image and mask, '{reason}'", name))
            continue
        problems += [f"{tool}: {key}: image {of_image[key]}, mask {of_mask.get(key)}" for key in of_image
                     if of_image[key] != of_mask.get(key)]
        arrays[tool] = voxels.reshape([n for n in voxels.shape if n != 1], order="F")
        if voxels.dtype != numpy.uint8:
            problems.append(f"{tool}: mask of {voxels.dtype}")
        whole = voxels.reshape(list(voxels.shape[:3]) + [1] * (3 - min(voxels.ndim, 3)), order="F")
        if not whole[:, :, index].any() or numpy.delete(whole, index, axis=2).any():
            problems.append(f"{tool}: the mask is not on slice {index} alone")
    if len(arrays) == 2 and not numpy.array_equal(*arrays.values()):
        problems.append("nibabel and SimpleITK read different voxels")
    return problems, refused


def segment(medsegx, weights, image_path, mask_path, arguments, box, index):
    command = [medsegx, "segment", image_path, "-o", mask_path, "--weights", weights, "--task", "CT_Liver", "--box",
               ",".join(map(str, box)), "--slice", str(index), "--force", "--quiet", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return f"segment: {done.stderr.strip()}" if done.returncode else None


def prove_it_bites(image_path, mask_path, index):
    """The comparison has to see a mask whose geometry is off by one bit, and one that is mirrored."""
    good = mask_path.read_bytes()
    for what, at, flip in [("sform", 280, 1), ("qoffset", 268, 1), ("pixdim", 80, 1), ("code", 254, 3), ("dim", 42, 1)]:
        bad = bytearray(good)
        bad[at] ^= flip
        mask_path.write_bytes(bad)
        if not compare(what, image_path, mask_path, index)[0]:
            return [f"a {what} that is off by a bit is not seen"]
    mirrored = nibabel.Nifti1Image(numpy.asarray(nibabel.Nifti1Image.from_bytes(good).dataobj)[:, :, ::-1], None,
                                   nibabel.Nifti1Image.from_bytes(good).header)
    mask_path.write_bytes(mirrored.to_bytes())
    return [] if compare("mirrored", image_path, mask_path, index)[0] else ["a mirrored mask is not seen"]


def check_orientation(folder, medsegx, weights):
    """`--orient ras` on a stored grid has to give the logits and voxels that the re-ordered file gives as stored."""
    problems, painted = [], 0
    signs = numpy.diag([-1, -1, 1, 1])
    affines = {"LAS": STRAIGHT, "RPS": signs @ STRAIGHT, "sagittal": SAGITTAL, "oblique": OBLIQUE,
               "coronal": STRAIGHT[:, [0, 2, 1, 3]], "axes turned": signs @ SAGITTAL[:, [1, 2, 0, 3]]}
    paths = [folder / name for name in ("stored.nii", "canonical.nii", "of-stored.nii", "of-canonical.nii")]
    logits = [folder / name for name in ("of-stored.npy", "of-canonical.npy")]
    for name, affine in affines.items():
        paths[0].write_bytes(image(affine=affine))
        stored = nibabel.load(paths[0])
        canonical = nibabel.as_closest_canonical(stored)
        nibabel.save(canonical, paths[1])
        turn = nibabel.io_orientation(stored.affine).astype(int)
        low, high = numpy.array([1, 2, 3]), numpy.array([4, 5, 3])  # canonical box on slice 3
        across = int(numpy.flatnonzero(turn[:, 0] == 2)[0])
        corners = [[c[axis] if sign > 0 else DIMS[i] - 1 - c[axis] for i, (axis, sign) in enumerate(turn)] for c in (low, high)]
        in_plane = [i for i in range(3) if i != across]
        box = [min(c[i] for c in corners) for i in in_plane] + [max(c[i] for c in corners) for i in in_plane]
        runs = [(paths[0], paths[2], ["--orient", "ras", "--axis", "ijk"[across], "--logits", logits[0]], box,
                 corners[0][across]),
                (paths[1], paths[3], ["--logits", logits[1]], [*low[:2], *high[:2]], 3)]
        found = [segment(medsegx, weights, *run) for run in runs]
        if any(found):
            problems.append(f"orientation {name}: {found}")
            continue
        turned = nibabel.as_closest_canonical(nibabel.load(paths[2])).get_fdata()
        painted += numpy.count_nonzero(turned)
        if not numpy.array_equal(*map(numpy.load, logits)):
            problems.append(f"orientation {name}: --orient ras shows the network another slice than the re-ordered file")
        if not numpy.array_equal(turned, nibabel.load(paths[3]).get_fdata()):
            problems.append(f"orientation {name}: --orient ras gives other voxels than the re-ordered file")
    if not painted:
        problems.append("orientation: every mask is empty, so that nothing was compared")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--medsegx", type=pathlib.Path, default=root / "target/release/medsegx")
    parser.add_argument("--shared", type=pathlib.Path, default=root.parent / "shared")
    parser.add_argument("--keep", type=pathlib.Path, help="leave images and masks in this folder")
    options = parser.parse_args()

    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="medsegx-geometry-"))
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "tiny.safetensors"
    subprocess.run([options.medsegx, "synth", "--config", "tiny", "-o", weights, "--force"], check=True, capture_output=True)

    cases = []
    if (options.shared / "data").is_dir():
        for path in sorted((options.shared / "data").rglob("*.nii*")):
            cases.append((path.name, path, path, []))
    else:
        print("SKIPPED the files below ../shared/data: the folder is not there")
    for number, (name, suffix, data, arguments) in enumerate(matrix()):
        path = folder / f"image{number:03}{suffix}"
        path.write_bytes(data)
        right = ".nii.gz" if data[:2] == b"\x1f\x8b" else ".nii"
        reference = path
        if not path.name.endswith(right) or (right == ".nii" and path.name.endswith(".gz")):
            reference = folder / f"image{number:03}-rightly-named{right}"
            reference.write_bytes(data)
        cases.append((name, path, reference, arguments))

    failed, refusals, compared = 0, {}, 0
    for name, path, reference, arguments in cases:
        dims = extents(reference)
        index = min(SLICE, dims[2] - 1)
        box = [1, 1, dims[0] - 2, dims[1] - 2]
        for suffix in (".nii", ".nii.gz"):
            mask = folder / f"mask{suffix}"
            mask.unlink(missing_ok=True)
            problem = segment(options.medsegx, weights, path, mask, arguments, box, index)
            problems, refused = ([problem], []) if problem else compare(name, reference, mask, index)
            compared += 1
            failed += bool(problems)
            for reason, refused_name in refused:
                refusals.setdefault(reason, {})[refused_name] = None
            for problem in problems:
                print(f"FAILED {name}, mask as {suffix}: {problem}")
    plain, mask = folder / "plain.nii", folder / "mask.nii"
    plain.write_bytes(image(dims=(9, 8, 6)))
    problem = segment(options.medsegx, weights, plain, mask, [], [1, 1, 7, 6], 2)
    for problem in [problem] if problem else prove_it_bites(plain, mask, 2):
        print(f"FAILED the check itself: {problem}")
        failed += 1
    for problem in check_orientation(folder, options.medsegx, weights):
        print(f"FAILED {problem}")
        failed += 1
    if not options.keep:
        shutil.rmtree(folder)
    for reason, names in refusals.items():
        print(f"{reason}: {', '.join(names)}")
    print(f"{compared} masks of {len(cases)} images compared with nibabel {nibabel.__version__} and "
          f"SimpleITK {SimpleITK.Version_VersionString()}: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
