#!/usr/bin/env python3
"""Checks that rt-utils, DicomRTTool and plastimatch find the voxels of a mask in the RTSTRUCT that medsegx writes of it.

    python3 tools/check_rtstruct.py [--cargo "--release"]

The series and masks are those of tools/check_seg.py, axial in all eight turns and mirrorings, since neither rt-utils nor
DicomRTTool reads other planes. rt-utils 1.2.7 takes rows for columns, of the picture and of the spacing, so it is asked on
square pictures of square pixels alone. plastimatch is asked where it is installed and named as skipped where it is not. Needs
what tools/requirements-rtstruct.txt has.
"""
import argparse
import contextlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import nibabel
import numpy

import check_seg

SQUARE = ((24, 24, 6), (0.75, 0.75, 3.0))
OBLONG = (check_seg.SIZE, check_seg.SPACING)


def by_rt_utils(case):
    from rt_utils import RTStructBuilder

    structures = RTStructBuilder.create_from(str(case / "series"), str(case / "mask.rtstruct.dcm"))
    found = {}
    for label, name in check_seg.TARGETS.items():
        mask, places = structures.get_roi_mask_by_name(name), []
        for k, file in enumerate(structures.series_data):
            x, y = numpy.array(file.ImageOrientationPatient, float).reshape(2, 3)
            rows, columns = map(float, file.PixelSpacing)
            index = numpy.argwhere(mask[:, :, k])[:, ::-1]
            places.append(index @ numpy.array([x * columns, y * rows]) + numpy.array(file.ImagePositionPatient, float))
        found[label] = check_seg.points(numpy.concatenate(places), numpy.eye(3), 0)
    return found


def by_dicomrttool(case):
    from DicomRTTool.ReaderWriter import DicomReaderWriter

    names = [name.lower() for name in check_seg.TARGETS.values()]
    reader = DicomReaderWriter(description="check", Contour_Names=names, arg_max=False, verbose=False)
    # It talks on both streams.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        reader.walk_through_folders(str(case))
        reader.get_images_and_mask()
    image = reader.dicom_handle
    matrix = numpy.array(image.GetDirection()).reshape(3, 3) * numpy.array(image.GetSpacing())
    return {label: check_seg.points(numpy.argwhere(reader.mask[..., n].T > 0), matrix, numpy.array(image.GetOrigin()))
            for n, label in enumerate(check_seg.TARGETS, 1)}


def by_plastimatch(case, folder):
    found = check_seg.by_plastimatch(case, folder)
    return dict(zip(check_seg.TARGETS, found.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cargo", default="--release", help="options of cargo test")
    arguments = parser.parse_args()
    axial = [o for o in check_seg.orientations() if o[2] == o[5] == 0 and abs(o[0]) in (0, 1)]
    plastimatch = shutil.which("plastimatch")
    checked = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        cases = [(folder / f"case{number}", orientation, shape)
                 for number, (shape, orientation) in enumerate((s, o) for s in (SQUARE, OBLONG) for o in axial)]
        for number, (case, orientation, (check_seg.SIZE, check_seg.SPACING)) in enumerate(cases):
            case.mkdir()
            image = check_seg.make_series(case / "series", orientation, reverse=number % 2 == 1)
            nibabel.save(check_seg.in_order(image, 3 * number), case / "mask.nii.gz")
        command = ["cargo", "test", *arguments.cargo.split(), "--test", "it", "--", "--exact",
                   "dicom_seg::given_masks_become_files_for_other_readers"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "MEDSEGX_SEG_MASKS": str(folder)})
        for case, orientation, shape in cases:
            # DicomRTTool reads whatever lies beside a series.
            for other in case.glob("*.dcm"):
                if other.name != "mask.rtstruct.dcm":
                    other.unlink()
            readers = {"DicomRTTool": by_dicomrttool}
            if shape == SQUARE:
                readers["rt-utils"] = by_rt_utils
            if plastimatch:
                readers["plastimatch"] = lambda case: by_plastimatch(case, folder / "plastimatch")
            expected = check_seg.by_nibabel(case / "mask.nii.gz")
            for name, read in readers.items():
                found = read(case)
                for label in check_seg.TARGETS:
                    check_seg.same(f"{name}, {orientation}, {shape}, label {label}", expected[label], found[label])
                    checked[name] = checked.get(name, 0) + 1
    said = ", ".join(f"{count} by {name}" for name, count in checked.items())
    print(f"structures that have the voxels of their masks: {said}")
    if not plastimatch:
        print("SKIPPED plastimatch: it is not installed (Debian has it: apt-get install plastimatch)")


if __name__ == "__main__":
    sys.exit(main())
