#!/usr/bin/env python3
"""Checks that other tools read medsegx's DICOM SEG and RTSTRUCT masks where their series lie, voxel by voxel, and that
medsegx reads theirs.

    python3 tools/check_seg.py [--medsegx target/release/medsegx] [--cargo "--release"] [--adapters DIR] [--plastimatch] [--keep DIR]

Series are made here in all 24 turns by right angles and an oblique one, their files in either order, and a mask of two blobs
for each as NIfTI, in all 48 orders and signs of axes; `cargo test` writes them as DICOM. pydicom, highdicom and dcmqi have to
find the blobs' voxels in the SEG, SimpleITK in the files of a segment each, and with --plastimatch plastimatch in the RTSTRUCT.
highdicom then writes SEG files of each kind, which medsegx scores against the NIfTI mask. With --adapters, a folder in which npm
has installed @cornerstonejs/adapters and @babel/runtime, tools/check_seg.mjs asks the adapters of OHIF too. Needs numpy,
nibabel, pydicom, highdicom, SimpleITK and dcmqi.
"""
import argparse
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import highdicom
import nibabel
import numpy
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE = (24, 20, 6)
SPACING = (0.75, 1.25, 3.0)
TARGETS = {3: "Liver", 8: "Spleen"}
LPS = numpy.diag([-1.0, -1.0, 1.0])


def orientations():
    for order in itertools.permutations(range(3), 2):
        for signs in itertools.product([1.0, -1.0], repeat=2):
            axes = numpy.zeros((2, 3))
            axes[0, order[0]], axes[1, order[1]] = signs
            yield axes.ravel().tolist()
    yield [0.8, 0.6, 0.0, -0.36, 0.48, 0.8]


def blobs():
    """Labels `[i, j, k]`: a ball with a hole through it and a voxel that touches it at a corner, and an ellipsoid."""
    x, y, z = numpy.ogrid[:SIZE[0], :SIZE[1], :SIZE[2]]
    one = (((x - 7.5) / 5) ** 2 + ((y - 7.5) / 5) ** 2 + ((z - 2) / 1.5) ** 2 <= 1) & ((abs(x - 7) > 1) | (abs(y - 6) > 1))
    other = ((x - 18) / 4) ** 2 + ((y - 12) / 4.5) ** 2 + ((z - 3) / 1.5) ** 2 <= 1
    labels = numpy.select([one, other], [3, 8]).astype(numpy.uint8)
    labels[1, 1, 1], labels[0, 0, 1] = 3, 3
    return labels


def make_series(folder, orientation, reverse):
    folder.mkdir()
    axes = numpy.array(orientation).reshape(2, 3)
    normal = numpy.cross(*axes)
    origin, values = numpy.array([-31.53, 17.257, 404.1]), 100 * blobs().astype(numpy.uint16)
    uids = [generate_uid() for _ in range(3)]
    for k in range(SIZE[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = uids
        file.Modality, file.PatientName, file.PatientID = "CT", "Muster^M\u00fcller", "4711"
        file.SpecificCharacterSet, file.PatientBirthDate, file.PatientSex = "ISO_IR 100", "19700102", "O"
        file.StudyDate, file.StudyTime, file.StudyID, file.AccessionNumber = "20260102", "101112", "7", "ACC"
        file.ReferringPhysicianName, file.PositionReferenceIndicator, file.Manufacturer = "Someone", "", "Maker"
        file.SeriesNumber, file.InstanceNumber = 4, SIZE[2] - k if reverse else k + 1
        file.ImagePositionPatient = [f"{v:.5f}" for v in origin + SPACING[2] * k * normal]
        file.ImageOrientationPatient, file.SliceThickness = orientation, SPACING[2]
        file.PixelSpacing = [SPACING[1], SPACING[0]]
        file.Rows, file.Columns, file.SamplesPerPixel = SIZE[1], SIZE[0], 1
        file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
        file.RescaleSlope, file.RescaleIntercept = 1, -1024
        file.PixelData = values[:, :, k].T.tobytes()
        file.save_as(folder / f"{file.InstanceNumber:02}.dcm", enforce_file_format=True)
    columns = numpy.stack([axes[0] * SPACING[0], axes[1] * SPACING[1], normal * SPACING[2]], axis=1)
    affine = numpy.eye(4)
    affine[:3, :3], affine[:3, 3] = LPS @ columns, LPS @ origin
    return nibabel.Nifti1Image(blobs(), affine)


def in_order(image, number):
    """The same image in one of the 48 orders and signs of its axes."""
    order = list(itertools.permutations(range(3)))[number // 8 % 6]
    turn = numpy.array([[axis, -1 if number >> to & 1 else 1] for to, axis in enumerate(order)])
    return image.as_reoriented(turn)


def points(index, matrix, origin):
    """The places of voxels `[n, 3]`, sorted, in micrometres."""
    places = numpy.rint((index @ numpy.asarray(matrix).T + origin) * 1000).astype(int)
    return places[numpy.lexsort(places.T)]


def by_nibabel(path):
    image = nibabel.load(path)
    labels, affine = numpy.asarray(image.dataobj), image.affine.astype(float)
    return {label: points(numpy.argwhere(labels == label), LPS @ affine[:3, :3], LPS @ affine[:3, 3]) for label in TARGETS}


def by_pydicom(path):
    file = pydicom.dcmread(path)
    frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    shared = file.SharedFunctionalGroupsSequence[0]
    x, y = numpy.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = {}
    for frame, group in zip(frames, file.PerFrameFunctionalGroupsSequence):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        at = numpy.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        index = numpy.argwhere(frame)[:, ::-1]
        found.setdefault(number, []).append(index @ numpy.array([x * columns, y * rows]) + at)
    return {number: points(numpy.concatenate(places), numpy.eye(3), 0) for number, places in found.items()}


def by_highdicom(path):
    file = highdicom.seg.segread(path)
    found = {}
    for number in file.segment_numbers:
        volume = file.get_volume(segment_numbers=[number])
        affine = volume.affine
        found[number] = points(numpy.argwhere(volume.array[..., 0]), affine[:3, :3], affine[:3, 3])
    return found


def by_sitk(path, label=None):
    image = SimpleITK.ReadImage(str(path))
    matrix = numpy.array(image.GetDirection()).reshape(3, 3) * numpy.array(image.GetSpacing())
    values = SimpleITK.GetArrayFromImage(image).T
    return points(numpy.argwhere(values > 0 if label is None else values == label), matrix, numpy.array(image.GetOrigin()))


def by_dcmqi(path, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = ["segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd", "--prefix", "s"]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(folder.glob("s-*.nrrd"))
    if len(files) == 1:
        return {number: by_sitk(files[0], number) for number in (1, 2)}
    return {int(file.stem.split("-")[-1]): by_sitk(file) for file in files}


def same(name, expected, found):
    """Whether the places are the same, to 2 micrometres."""
    assert expected.shape == found.shape, f"{name}: {len(found)} voxels, {len(expected)} in the mask"
    apart = numpy.abs(expected.mean(axis=0) - found.mean(axis=0)).max() / 1000
    assert apart < 0.01, f"{name}: centres {apart} mm apart"
    nearest = {tuple(place) for place in expected // 10}
    off = [p for p in found if not any(tuple(q) in nearest for q in itertools.product(*[(v // 10 - 1, v // 10, v // 10 + 1) for v in p]))]
    assert not off, f"{name}: {len(off)} voxels elsewhere"


def check_meta(path, source):
    """What viewers and archives need, and what must not be there."""
    file, first = pydicom.dcmread(path), pydicom.dcmread(source)
    for word in ["PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "StudyDate"]:
        assert file[word].value == first[word].value, word
    assert str(file.PatientName) == "Muster^M\u00fcller" and file.SeriesInstanceUID != first.SeriesInstanceUID
    assert "Someone" not in str(file) and "Maker" not in str(file)
    assert not any(element.VR in ("OV", "SV", "UV") for element in file.iterall())
    segments = [(s.SegmentNumber, s.SegmentLabel, s.TrackingID, s.SegmentedPropertyTypeCodeSequence[0].CodeValue)
                for s in file.SegmentSequence]
    assert segments == [(1, "Liver", "label-3 Liver", "10200004"), (2, "Spleen", "label-8 Spleen", "78961009")], segments
    sources = {item.ReferencedSOPInstanceUID for item in file.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    places = {}
    for other in source.parent.glob("*.dcm"):
        slice_ = pydicom.dcmread(other, stop_before_pixels=True)
        places[slice_.SOPInstanceUID] = slice_.ImagePositionPatient
    assert sources == set(places)
    for group in file.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        own = group.PlanePositionSequence[0].ImagePositionPatient
        assert [v.original_string for v in own] == [v.original_string for v in places[image]], "the source's own spelling"


def check_written(arguments, folder):
    all_orientations, checked = list(orientations()), 0
    cases = range(0, 48, arguments.every)
    for number in cases:
        case = folder / f"case{number}"
        case.mkdir()
        image = make_series(case / "series", all_orientations[number % 25], reverse=number % 2 == 1)
        nibabel.save(in_order(image, number), case / "mask.nii.gz")
    command = ["cargo", "test", *arguments.cargo.split(), "--test", "it", "--", "--exact", "dicom_seg::given_masks_become_files_for_other_readers"]
    environment = {**os.environ, "MEDSEGX_SEG_MASKS": str(folder.resolve())}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    for number in cases:
        case = folder / f"case{number}"
        expected = by_nibabel(case / "mask.nii.gz")
        check_meta(case / "mask.dcm", case / "series/01.dcm")
        files = {"pydicom": by_pydicom(case / "mask.dcm"), "highdicom": by_highdicom(case / "mask.dcm"),
                 "dcmqi": by_dcmqi(case / "mask.dcm", folder / "dcmqi"), "pydicom, deflated": by_pydicom(case / "deflated.dcm"),
                 "highdicom, LABELMAP": by_highdicom(case / "labelmap.dcm"),
                 "dcmqi, LABELMAP": by_dcmqi(case / "labelmap.dcm", folder / "dcmqi"),
                 "SimpleITK": {n: by_sitk(case / f"one-{label}.dcm") for n, label in enumerate(TARGETS, 1)}}
        # Where rows run along the patient's axis plastimatch 1.10.0 draws contours that medsegx reads back whole a few voxels short.
        if arguments.plastimatch and abs(all_orientations[number % 25][2]) < 1:
            files["plastimatch, RTSTRUCT"] = by_plastimatch(case, folder / "plastimatch")
        for reader, found in files.items():
            assert sorted(found) == [1, 2], f"{reader}: segments {sorted(found)}"
            for n, label in enumerate(TARGETS, 1):
                same(f"{reader}, case {number}, label {label}", expected[label], found[n])
                checked += 1
        check_read(arguments.medsegx, case, number)
        if arguments.adapters:
            script = pathlib.Path(__file__).with_suffix(".mjs").resolve()
            command = ["node", script, arguments.adapters.resolve(), case / "mask.dcm", case / "series"]
            frames = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            check_slices(frames, case)
            checked += 2
    print(f"{checked} segments have the voxels of their masks, by pydicom, highdicom, dcmqi, SimpleITK"
          + (", plastimatch" if arguments.plastimatch else "") + (", @cornerstonejs/adapters" if arguments.adapters else "")
          + f"; {len(cases)} files of highdicom are read")


def by_plastimatch(case, folder):
    """What plastimatch draws of the RTSTRUCT, on the series' own grid."""
    shutil.rmtree(folder, ignore_errors=True)
    command = ["plastimatch", "convert", "--input", case / "mask.rtstruct.dcm", "--referenced-ct", case / "series",
               "--output-prefix", folder, "--prefix-format", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    return {n: by_sitk(folder / f"{name}.nrrd") for n, name in enumerate(TARGETS.values(), 1)}


def check_slices(frames, case):
    """Whether the adapters have each slice's voxels on that slice: `frames` is segment, SOP Instance UID, voxels."""
    for path in (case / "series").glob("*.dcm"):
        file = pydicom.dcmread(path)
        for n, label in enumerate(TARGETS, 1):
            expected = int((file.pixel_array == 100 * label).sum())
            found = frames[str(n)].get(file.SOPInstanceUID, 0)
            assert found == expected, f"adapters: {found} voxels of {expected} on {path}"


def check_read(medsegx, case, number):
    """A SEG file of highdicom, of each kind in turn, scored against the mask that it was made of."""
    files = sorted((pydicom.dcmread(path) for path in (case / "series").glob("*.dcm")), key=lambda f: f.InstanceNumber)
    values = numpy.stack([file.pixel_array for file in files])
    array = numpy.select([values == 300, values == 800], [1, 2]).astype(numpy.uint8)
    kind = ["BINARY", "LABELMAP", "FRACTIONAL"][number % 3]
    anatomy, organ = Code("123037004", "SCT", "Anatomical Structure"), Code("10200004", "SCT", "Liver")
    segments = [highdicom.seg.SegmentDescription(n, name, anatomy, organ, "MANUAL") for n, name in enumerate(TARGETS.values(), 1)]
    written = highdicom.seg.Segmentation(files, array, kind, segments, generate_uid(), 9, generate_uid(), 1, "m", "m", "1", "1")
    written.save_as(case / "theirs.dcm")
    image = nibabel.load(case / "mask.nii.gz")
    labels = numpy.asarray(image.dataobj)
    numbers = numpy.select([labels == label for label in TARGETS], [1, 2]).astype(numpy.uint8)
    nibabel.save(nibabel.Nifti1Image(numbers, image.affine), case / "theirs.nii.gz")
    for mask, reference, meant in [("theirs.dcm", "theirs.nii.gz", [1, 2]), ("mask.rtstruct.dcm", "mask.nii.gz", [3, 8]),
                                   ("mask.dcm", "mask.nii.gz", [3, 8])]:
        command = [medsegx, "score", case / mask, case / reference, "--json"]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        found = [(row["label"], row["dice"]) for row in report["labels"]]
        assert found == [(label, 1.0) for label in meant], f"{mask}, {kind}, case {number}: {found}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--medsegx", default="target/release/medsegx")
    parser.add_argument("--cargo", default="--release", help="options of cargo test")
    parser.add_argument("--adapters", type=pathlib.Path)
    parser.add_argument("--plastimatch", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="take each so-many-th of the 48 orders only")
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        check_written(arguments, folder)


if __name__ == "__main__":
    sys.exit(main())
