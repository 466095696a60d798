#!/usr/bin/env python3
"""Reading a CT of DICOM files in medsegx beside SimpleITK and pydicom, in turns, in one run, files in the page cache.

    python3 tools/peers/dicom.py [--medsegx target/release/medsegx] [--slices 300]

Prints a Markdown table: voxels in memory, uncompressed and as lossless JPEG 2000, beside SimpleITK; headers beside
pydicom; and the memory beside that of the same volume as NIfTI. The volume is made up: balls in noise of a CT's range, and
is read back as written, or nothing is printed (voxels of medsegx: tools/check_dicom.py). Needs tools/requirements-checks.txt.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import imagecodecs
import numpy
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

SIDE = 512
# What writers of masks copy from their series, and a made-up one has not.
ASKED_FOR = ["PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"]


def volume(slices):
    """[slices, SIDE, SIDE] signed 16-bit values: two balls and noise that a scanner would leave."""
    random = numpy.random.default_rng(7)
    z, y, x = numpy.ogrid[:slices, :SIDE, :SIDE]
    values = numpy.full((slices, SIDE, SIDE), -1000, numpy.int16)
    middle = slices / 2
    for radius, centre, level in ((200, (middle, 256, 256), 40), (60, (middle, 200, 300), 110)):
        scaled = ((z - centre[0]) * 200 / middle) ** 2
        values[scaled + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius * radius] = level
    return values + random.normal(0, 12, values.shape).astype(numpy.int16)


def write(folder, values, syntax):
    """The volume as a series."""
    folder.mkdir()
    series, study, place = generate_uid(), generate_uid(), generate_uid()
    for k, plane in enumerate(values):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = syntax
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID, file.Modality = series, study, "CT"
        file.InstanceNumber, file.FrameOfReferenceUID = k + 1, place
        for keyword in ASKED_FOR:
            setattr(file, keyword, "")
        file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 1.5 * k], [1, 0, 0, 0, 1, 0]
        file.PixelSpacing, file.SliceThickness = [0.75, 0.75], 1.5
        file.Rows = file.Columns = SIDE
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        if syntax == JPEG2000Lossless:
            coded = imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True, level=0)
            file.PixelData = encapsulate([coded])
        else:
            file.PixelData = plane.tobytes()
        file.save_as(folder / f"{k:04}.dcm", enforce_file_format=True)
    return folder


def simpleitk(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def pydicom_headers(folder):
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]


def milliseconds(work):
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def medsegx(options, image):
    command = [options.medsegx, "bench", "read", image, "--threads", options.threads, "--repeats", 3, "--json"]
    found = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)


def check(options, folder, values):
    """Both read what was written."""
    itk = SimpleITK.GetArrayFromImage(simpleitk(folder))
    if not numpy.array_equal(itk, values):
        raise SystemExit(f"{folder}: SimpleITK reads other voxels than were written")
    dims = medsegx(options, folder)["dims"]
    if dims[:3] != [SIDE, SIDE, len(values)]:
        raise SystemExit(f"{folder}: medsegx reads {dims}")


def in_turns(options, image, other):
    """Medians of the rounds: medsegx's report, milliseconds of the other."""
    rows, theirs = [], []
    for _ in range(options.rounds + 1):
        rows.append(medsegx(options, image))
        theirs.append(milliseconds(other))
    middle = lambda key: statistics.median(row[key] for row in rows[1:])
    return {key: middle(key) for key in ("headers_ms", "read_ms", "peak_bytes")}, statistics.median(theirs[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--medsegx", type=pathlib.Path, default="target/release/medsegx")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        values = volume(options.slices)
        plain = write(folder / "plain", values, ExplicitVRLittleEndian)
        packed = write(folder / "jpeg2000", values, JPEG2000Lossless)
        nifti = folder / "volume.nii"
        SimpleITK.WriteImage(simpleitk(plain), str(nifti))
        for series in (plain, packed):
            check(options, series, values)
        print(f"{options.slices} slices of {SIDE} x {SIDE}, {options.threads} threads, medians of {options.rounds} turns\n")
        print("| what | medsegx | other | ratio |\n|---|---|---|---|")
        ours, theirs = in_turns(options, plain, lambda: simpleitk(plain))
        print(f"| voxels, ms; SimpleITK | {ours['read_ms']:.0f} | {theirs:.0f} | {ours['read_ms'] / theirs:.2f} |")
        other, headers = in_turns(options, plain, lambda: pydicom_headers(plain))
        print(f"| headers, ms; pydicom | {other['headers_ms']:.0f} | {headers:.0f} | {other['headers_ms'] / headers:.2f} |")
        peak, of_nifti = ours["peak_bytes"], medsegx(options, nifti)["peak_bytes"]
        print(f"| peak, MB; the volume as NIfTI | {peak / 1e6:.0f} | {of_nifti / 1e6:.0f} | {peak / of_nifti:.2f} |")
        ours, theirs = in_turns(options, packed, lambda: simpleitk(packed))
        print(f"| voxels from JPEG 2000, ms; SimpleITK | {ours['read_ms']:.0f} | {theirs:.0f} | {ours['read_ms'] / theirs:.2f} |")
        processor, wall = time.process_time(), time.perf_counter()
        simpleitk(packed)
        cores = (time.process_time() - processor) / (time.perf_counter() - wall)
        print(f"\nSimpleITK keeps {cores:.1f} cores busy with JPEG 2000.")


if __name__ == "__main__":
    main()
