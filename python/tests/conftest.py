"""What the tests share. They run against the installed wheel, never against the source tree."""

import itertools
import json
import os
import pathlib
import shutil
import subprocess

import medsegx
import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
assert HERE.parent not in pathlib.Path(medsegx.__file__).resolve().parents, "the wheel is to be tested, not the source"

PHANTOM = ROOT / "tests/data/phantom.nii.gz"
PHANTOM_LABELS = ROOT / "tests/data/phantom_labels.nii.gz"
PHANTOM_BOXES = ROOT / "tests/data/phantom_boxes.json"


@pytest.fixture(scope="session")
def model():
    return medsegx.Model(threads=2)


@pytest.fixture(scope="session")
def cli():
    """Runs the command line; returns its labels and its exit code with the last line of stderr."""
    binary = os.environ.get("MEDSEGX_CLI") or shutil.which("medsegx") or str(ROOT / "target/release/medsegx")
    if not pathlib.Path(binary).exists():
        if "cli" in os.environ.get("MEDSEGX_REQUIRE", "").split(","):
            raise AssertionError(f"no command line at {binary}")
        pytest.skip(f"no command line at {binary}")

    def run(*args):
        done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True)
        return done.returncode, done.stderr.strip().splitlines()

    return run


def pattern(shape, dtype=np.int16, seed=7):
    """An array with structure of its own: blobs on a slope, so that masks are neither empty nor full."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    random = np.random.default_rng(seed)
    values = 40 * grid[0] + 900 * np.exp(-6 * sum((axis - random.uniform(-0.2, 0.2)) ** 2 for axis in grid))
    values += random.normal(0, 4, shape)
    return values.astype(dtype)


@pytest.fixture(scope="session")
def small():
    """24 x 20 x 6 voxels, x, y, z."""
    return pattern((24, 20, 6))


# All orders and signs of axes.
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
BOX = [5, 4, 2, 18, 15, 3]
AFFINE = np.diag([1.5, 2.0, 3.0, 1.0])


def boxes_file(path, targets):
    path.write_text(json.dumps({"version": 1, "space": "voxel", "inclusive": True, "targets": targets}))
    return path


def dicom_series(folder, stack, real_world=None):
    """A CT of the planes of `stack`; with slope and intercept of a map of real world values, if given."""
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    series = generate_uid()
    for index, plane in enumerate(stack):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID = one.FrameOfReferenceUID = one.SeriesInstanceUID = series
        one.Modality, one.InstanceNumber = "CT", index + 1
        one.Rows, one.Columns = plane.shape
        one.PixelSpacing, one.SliceThickness = [1.25, 1.0], 2.5
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.5 * index]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        if real_world:
            unit, mapped = Dataset(), Dataset()
            unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "[hnsf'U]", "UCUM", "Hounsfield unit"
            mapped.MeasurementUnitsCodeSequence, mapped.LUTLabel = [unit], "MAP"
            mapped.add_new("RealWorldValueFirstValueMapped", "SS", -32768)
            mapped.add_new("RealWorldValueLastValueMapped", "SS", 32767)
            mapped.RealWorldValueSlope, mapped.RealWorldValueIntercept = real_world
            one.RealWorldValueMappingSequence = [mapped]
        one.PixelData = plane.tobytes()
        one.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder
