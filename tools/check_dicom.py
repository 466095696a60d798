#!/usr/bin/env python3
"""Checks that `medsegx segment` reads DICOM series as SimpleITK does: voxels, places and masks.

    python3 tools/check_dicom.py [--medsegx target/release/medsegx] [--shared ../shared]

Each series is segmented twice, from its folder and from the NIfTI file that SimpleITK makes of it: the logits of all
slices have to be equal bit for bit, and the mask has to lie where SimpleITK puts the series, to 1e-4 mm. The series are
the CTs below ../shared/data and made-up ones of pydicom in every orientation kind and uncompressed or RLE syntax. The
weights are synthetic, so what is segmented means nothing. Needs numpy, pydicom and SimpleITK.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

ORIENTATIONS = {
    "supine": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (0.9396926208, 0.3420201433, 0, -0.3420201433, 0.9396926208, 0),
}
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]


def made_up(folder, orientation, syntax, seed):
    """Writes a series of six slices of random signed values, its files in a random order."""
    random = numpy.random.default_rng(seed)
    series, study = generate_uid(), generate_uid()
    normal = numpy.cross(orientation[:3], orientation[3:])
    for name, k in enumerate(random.permutation(6)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID, file.Modality = series, study, "CT"
        file.PatientName, file.PatientID = "Doe^Jane", "PATIENT-4711"
        file.ImagePositionPatient = [round(float(v), 6) for v in numpy.array([-30.5, 12.25, 7]) + 2.5 * k * normal]
        file.ImageOrientationPatient = list(orientation)
        file.PixelSpacing, file.SliceThickness = [0.75, 1.25], 2.5
        file.Rows, file.Columns, file.SamplesPerPixel = 20, 24, 1
        file.PhotometricInterpretation = "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.RescaleSlope, file.RescaleIntercept = 2, -24
        file.InstanceNumber = name + 1
        values = random.integers(-1000, 3000, (20, 24)).astype(">i2" if syntax == ExplicitVRBigEndian else "<i2")
        file.PixelData = values.tobytes()
        file["PixelData"].VR = "OW"
        if syntax == RLELossless:
            file.compress(RLELossless)
        pydicom.dcmwrite(folder / f"{name}.dcm", file, enforce_file_format=True)


def segment(medsegx, weights, image, dims, volume, out):
    box = f"0,0,0,{dims[0] - 1},{dims[1] - 1},{dims[2] - 1}"
    command = [medsegx, "segment", image, "-o", f"{out}.nii.gz", "--weights", weights, "--task", "CT_Liver", "--quiet",
               "--box3d", box, "--logits", f"{out}.npy", "--force", "--report", f"{out}.json",
               # One window for both: the range of values leaves padding out, which NIfTI does not name.
               "--intensity", "window:0,6000"]
    done = subprocess.run([str(part) for part in command + volume], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return numpy.load(f"{out}.npy"), SimpleITK.ReadImage(f"{out}.nii.gz")


def check(name, medsegx, weights, folder, series, scratch):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    image = reader.Execute()
    SimpleITK.WriteImage(image, str(scratch / "itk.nii"))
    dims = image.GetSize()
    ours, mask = segment(medsegx, weights, folder, dims, ["--series", series], scratch / "ours")
    theirs, _ = segment(medsegx, weights, scratch / "itk.nii", dims, [], scratch / "theirs")
    assert ours.tobytes() == theirs.tobytes(), f"{name}: voxels differ"
    assert mask.GetSize() == dims, f"{name}: {mask.GetSize()}"
    for corner in numpy.ndindex(2, 2, 2):
        index = [c * (n - 1) for c, n in zip(corner, dims)]
        places = [numpy.array(volume.TransformIndexToPhysicalPoint([int(i) for i in index])) for volume in (image, mask)]
        apart = float(numpy.abs(places[0] - places[1]).max())
        assert apart < 1e-4, f"{name}: {index} lies {apart} mm apart"
    written = (scratch / "ours.json").read_bytes() + gzip.decompress((scratch / "ours.nii.gz").read_bytes())[:352]
    assert not any(secret in written for secret in (b"Doe", b"Jane", b"PATIENT-4711")), name
    print(f"ok {name}: {dims}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--medsegx", type=pathlib.Path, default="target/release/medsegx")
    parser.add_argument("--shared", type=pathlib.Path, default="../shared")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        weights = scratch / "tiny.safetensors"
        subprocess.run([args.medsegx, "synth", "--config", "tiny", "-o", weights], check=True, capture_output=True)
        cases = 0
        for number, (name, orientation) in enumerate(ORIENTATIONS.items()):
            syntax = SYNTAXES[number % len(SYNTAXES)]
            folder = scratch / f"made-{number}"
            folder.mkdir()
            made_up(folder, orientation, syntax, number)
            uid = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).SeriesInstanceUID
            check(f"{name}, {syntax.name}", args.medsegx, weights, folder, uid, scratch)
            cases += 1
        real = [args.shared / "data/dicom-ct", args.shared / "data/dcmqi/ct-3slice"]
        for folder in real:
            if not folder.is_dir():
                print(f"SKIPPED {folder.name}: {folder} is not there")
                continue
            listing = subprocess.run([args.medsegx, "info", folder, "--json"], check=True, capture_output=True)
            for series in json.loads(listing.stdout)["series"]:
                check(f"{folder.name}", args.medsegx, weights, folder, series["uid"], scratch)
                cases += 1
        print(f"{cases} series read as SimpleITK reads them")


if __name__ == "__main__":
    sys.exit(main())
