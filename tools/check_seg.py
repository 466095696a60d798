#!/usr/bin/env python3
"""Checks that other tools read medsegx's DICOM SEG masks where their series lie, voxel by voxel, and that medsegx reads theirs.

    python3 tools/check_seg.py [--medsegx target/release/medsegx] [--adapters DIR] [--keep DIR]

Series of an image are made here in all 24 turns by right angles and an oblique one, their files in either order, and are
segmented into a SEG file and into NIfTI, whose mask nibabel reads. pydicom, highdicom and dcmqi have to find the same voxels
in the SEG, SimpleITK in the files of --split. dcmqi and highdicom then write SEG files of that mask, which medsegx scores
against the NIfTI mask. With --adapters, a folder in which npm has installed @cornerstonejs/adapters, tools/check_seg.mjs asks
the adapters of OHIF too. Needs numpy, nibabel, pydicom, highdicom, SimpleITK and dcmqi.
"""
import argparse
import itertools
import json
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
TARGETS = {3: ("Liver", "CT_Liver", [4, 4, 11, 11, 1, 3]), 8: ("Spleen", "CT_Spleen", [14, 8, 21, 16, 2, 4])}
LPS = numpy.diag([-1.0, -1.0, 1.0])


def orientations():
    for order in itertools.permutations(range(3), 2):
        for signs in itertools.product([1.0, -1.0], repeat=2):
            axes = numpy.zeros((2, 3))
            axes[0, order[0]], axes[1, order[1]] = signs
            yield axes.ravel().tolist()
    yield [0.8, 0.6, 0.0, -0.36, 0.48, 0.8]


def blobs():
    x, y, z = numpy.ogrid[:SIZE[0], :SIZE[1], :SIZE[2]]
    one = ((x - 7.5) / 4) ** 2 + ((y - 7.5) / 4) ** 2 + ((z - 2) / 1.5) ** 2 <= 1
    other = ((x - 17.5) / 4) ** 2 + ((y - 12) / 4.5) ** 2 + ((z - 3) / 1.5) ** 2 <= 1
    return (40 + 160 * one + 110 * other + (3 * x + 5 * y + 7 * z) % 9).astype(numpy.uint16)


def make_series(folder, orientation, reverse):
    folder.mkdir()
    axes = numpy.array(orientation).reshape(2, 3)
    normal = numpy.cross(*axes)
    origin, values = numpy.array([-31.53, 17.257, 404.1]), blobs()
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
        volume = file.get_volume(segment_numbers=[number], combine_segments=True)
        affine = volume.affine
        found[number] = points(numpy.argwhere(volume.array), affine[:3, :3], affine[:3, 3])
    return found


def by_sitk(path):
    image = SimpleITK.ReadImage(str(path))
    matrix = numpy.array(image.GetDirection()).reshape(3, 3) * numpy.array(image.GetSpacing())
    return points(numpy.argwhere(SimpleITK.GetArrayFromImage(image).T > 0), matrix, numpy.array(image.GetOrigin()))


def by_dcmqi(path, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = ["segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd", "--prefix", "s"]
    subprocess.run(command, check=True, capture_output=True)
    return {int(file.stem.split("-")[-1]): by_sitk(file) for file in folder.glob("s-*.nrrd")}


def same(name, expected, found):
    """Whether the places are the same, to 2 micrometres."""
    assert expected.shape == found.shape, f"{name}: {len(found)} voxels, {len(expected)} in the mask"
    apart = numpy.abs(expected.mean(axis=0) - found.mean(axis=0)).max() / 1000
    assert apart < 0.01, f"{name}: centres {apart} mm apart"
    nearest = {tuple(place) for place in expected // 10}
    off = [p for p in found if not any(tuple(q) in nearest for q in itertools.product(*[(v // 10 - 1, v // 10, v // 10 + 1) for v in p]))]
    assert not off, f"{name}: {len(off)} voxels elsewhere"


def segment(medsegx, source, boxes, output, *more):
    subprocess.run([medsegx, "segment", source, "--boxes", boxes, "-o", output, "--force", "-q", *more], check=True)


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


def check_written(medsegx, folder, adapters, every):
    boxes, checked = folder / "boxes.json", 0
    targets = []
    for label, (name, task, (x0, y0, x1, y1, first, last)) in TARGETS.items():
        of_slices = {str(k): [x0, y0, x1, y1] for k in range(first, last + 1)}
        targets.append({"name": name, "label": label, "task": task, "slices": of_slices})
    boxes.write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": targets}))
    for number, orientation in list(enumerate(orientations()))[::every]:
        series = folder / f"series{number}"
        make_series(series, orientation, reverse=number % 2 == 1)
        nifti, seg = folder / "mask.nii.gz", folder / f"mask{number}.dcm"
        segment(medsegx, series, boxes, nifti)
        segment(medsegx, series, boxes, seg, *(["--deflate"] if number % 5 == 4 else []))
        expected = by_nibabel(nifti)
        assert all(len(places) > 20 for places in expected.values()), "masks too small to tell"
        check_meta(seg, series / "01.dcm")
        readers = {"pydicom": by_pydicom(seg), "highdicom": by_highdicom(seg), "dcmqi": by_dcmqi(seg, folder / "dcmqi")}
        for reader, found in readers.items():
            assert sorted(found) == [1, 2], f"{reader}: segments {sorted(found)}"
            for segment_number, label in enumerate(TARGETS, 1):
                same(f"{reader}, {orientation}, label {label}", expected[label], found[segment_number])
                checked += 1
        segment(medsegx, series, boxes, folder / "one.dcm", "--split")
        for label in TARGETS:
            same(f"SimpleITK, {orientation}, label {label}", expected[label], by_sitk(folder / f"one-{label}.dcm"))
            checked += 1
        if number % 6 == 0:
            label_map = folder / "labelmap.dcm"
            segment(medsegx, series, boxes, label_map, "--seg", "labelmap")
            for reader, found in [("highdicom", by_highdicom(label_map)), ("dcmqi", by_dcmqi(label_map, folder / "dcmqi"))]:
                for segment_number, label in enumerate(TARGETS, 1):
                    same(f"{reader}, LABELMAP, {orientation}, label {label}", expected[label], found[segment_number])
                    checked += 1
        check_read(medsegx, folder, series, nifti, number)
        if adapters and number % 4 == 0:
            script = pathlib.Path(__file__).with_suffix(".mjs").resolve()
            command = ["node", script, adapters.resolve(), seg, series]
            frames = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            counts = {int(n): sum(counts.values()) for n, counts in frames.items()}
            assert counts == {n: len(expected[label]) for n, label in enumerate(TARGETS, 1)}, f"adapters: {counts}"
            check_slices(frames, nifti, series)
            checked += 2
    print(f"{checked} segments have the voxels of their masks, by pydicom, highdicom, dcmqi, SimpleITK"
          + (" and @cornerstonejs/adapters" if adapters else ""))


def check_slices(frames, nifti, series):
    """Whether the adapters have each slice's voxels on that slice: `frames` is segment, SOP Instance UID, voxels."""
    image = nibabel.load(nifti)
    labels, affine = numpy.asarray(image.dataobj), image.affine
    for path in series.glob("*.dcm"):
        file = pydicom.dcmread(path, stop_before_pixels=True)
        at = numpy.linalg.solve(affine[:3, :3], LPS @ numpy.array(file.ImagePositionPatient, float) - affine[:3, 3])
        for number, label in enumerate(TARGETS, 1):
            expected = int((labels[:, :, round(at[2])] == label).sum())
            found = frames[str(number)].get(file.SOPInstanceUID, 0)
            assert found == expected, f"adapters: {found} voxels of {expected} on {path.name}"


def check_read(medsegx, folder, series, nifti, number):
    """SEG files of highdicom, of each kind, and of dcmqi, scored against the mask that they were made of."""
    files = sorted((pydicom.dcmread(path) for path in series.glob("*.dcm")), key=lambda f: f.InstanceNumber)
    image = nibabel.load(nifti)
    labels = numpy.asarray(image.dataobj)
    array = numpy.zeros((len(files), SIZE[1], SIZE[0]), numpy.uint8)
    for at, file in enumerate(files):
        place = LPS @ numpy.array(file.ImagePositionPatient, float)
        k = round(numpy.linalg.solve(image.affine[:3, :3], place - image.affine[:3, 3])[2])
        array[at] = labels[:, :, k].T
    for number_, label in enumerate(TARGETS, 1):
        array[array == label] = number_
    kinds = ["BINARY", "LABELMAP", "FRACTIONAL"]
    kind = kinds[number % 3]
    describe = [highdicom.seg.SegmentDescription(n, name, Code("123037004", "SCT", "Anatomical Structure"), Code("10200004", "SCT", "Liver"),
                                                 "MANUAL") for n, (name, *_) in enumerate(TARGETS.values(), 1)]
    written = highdicom.seg.Segmentation(files, array, kind, describe, generate_uid(), 9, generate_uid(), 1, "m", "m", "1", "1",
                                         omit_empty_frames=True)
    path = folder / "theirs.dcm"
    written.save_as(path)
    own = nibabel.Nifti1Image(numpy.select([labels == label for label in TARGETS], [1, 2]).astype(numpy.uint8), image.affine)
    nibabel.save(own, folder / "theirs.nii.gz")
    report = subprocess.run([medsegx, "score", path, folder / "theirs.nii.gz", "--json"], capture_output=True, text=True, check=True)
    dice = [row["dice"] for row in json.loads(report.stdout)["labels"]]
    assert dice == [1.0, 1.0], f"highdicom's {kind}, {number}: {dice}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--medsegx", default="target/release/medsegx")
    parser.add_argument("--adapters", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=1, help="take each so-many-th orientation only")
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        check_written(arguments.medsegx, folder, arguments.adapters, arguments.every)


if __name__ == "__main__":
    sys.exit(main())
