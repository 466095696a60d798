#!/bin/bash
# nifti-lite 0.1.0 (PyPI, "A small, from-scratch NIfTI reader and fast dataset header scanner") against nibabel 5.4.2
# (PyPI; numpy 2.4.6; CPython 3.11): valid NIfTI-1 files. Its documentation names NIfTI-2 and the orientation as what it
# does not do, and says that "Intensity scaling (slope/intercept) is applied if the file uses it".
#  1. scl_slope 0. By nifti1.h ("DATA SCALING") a slope of 0 means that the voxels are not scaled, whatever scl_inter
#     is. Stored 0 to 23, slope 0, intercept -1024. Expected: 0 to 23. Seen: every voxel is -1024; the image is gone.
#  2. xyzt_units. Two files of the same size, 0.1 x 0.1 x 0.2 mm: one in millimetres, one in micrometres (100, 100,
#     200). The scan's table is headed "spacing (mm)". Expected: the same twice. Seen: 100 x 100 x 200 mm, and a warning
#     of different spacings. A head of 1 mm and a mouse brain of 1 um: "All files have consistent shape and spacing."
#     In metres, 0.00003 is rounded to 0.
# Nothing else is said.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nifti-lite==0.1.0 nibabel==5.4.2 numpy==2.4.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import os, subprocess, sys
import nibabel
import numpy as np
from nifti_lite import load_data, read_header

top = sys.argv[1]
voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)

def save(path, sizes, unit, slope=1, inter=0):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.diag([*sizes, 1]))
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    with open(path, "r+b") as file:  # scl_slope and scl_inter
        file.seek(112)
        file.write(np.array([slope, inter], "<f4").tobytes())
    return path

for slope, inter in ((1, 0), (2, -1024), (0, 0), (0, -1024)):
    path = save(f"{top}/slopes/{slope}{inter}.nii", (1, 1, 1), "mm", slope, inter)
    want, seen = nibabel.load(path).get_fdata(), load_data(path)
    print(f"slope {slope}, intercept {inter}: expected {want.min():.0f} to {want.max():.0f},",
          f"seen {seen.min():.0f} to {seen.max():.0f}")
    assert np.array_equal(want, voxels * float(slope) + inter if slope else voxels)
    if (slope, inter) == (0, -1024):
        assert (seen == -1024).all(), "another scaling"
    else:
        assert np.array_equal(seen, want)

def scan(name, *files):
    """-> spacing of each file as found, and what the scan says of all of them"""
    paths = [save(f"{top}/{name}/{k}.nii", sizes, unit) for k, (sizes, unit) in enumerate(files)]
    for path, (_, unit) in zip(paths, files):
        assert nibabel.load(path).header.get_xyzt_units()[0] == unit
    text = subprocess.run([sys.executable, "-m", "nifti_lite", "scan", f"{top}/{name}"], capture_output=True, text=True,
                          check=True).stdout
    print(f"{name}:", *files)
    print(text)
    assert "spacing (mm)" in text
    return [read_header(path)["spacing"] for path in paths], text

found, text = scan("same", ((0.1, 0.1, 0.2), "mm"), ((100, 100, 200), "micron"))
assert found == [(0.1, 0.1, 0.2), (100, 100, 200)] and "different spacings" in text, "other units"
found, text = scan("head-and-mouse", ((1, 1, 1), "mm"), ((1, 1, 1), "micron"))
assert found == [(1, 1, 1)] * 2 and "consistent shape and spacing" in text, "other units"
found, text = scan("metres", ((0.00003, 0.00003, 0.00003), "meter"))
assert found == [(0, 0, 0)], "other units"
PY
