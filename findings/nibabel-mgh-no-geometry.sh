#!/bin/bash
# nibabel 5.4.2 (PyPI; numpy 2.2.6; CPython 3.11): an MGH volume whose goodRASFlag is 0, that is, without geometry.
# FreeSurfer (mghRead) then sets 1 mm voxels and a coronal orientation, x to the left, y downwards, z forwards:
# x_r = -1, y_s = -1, z_a = 1, codes L I A. Other readers that set a default, surfa 0.6.3 for one, set this one.
# Seen: nibabel gives L S P: y upwards and z backwards. Half a turn about the left-right axis, so handedness and voxel
# size are right and the head stands on its crown, with the face where its back should be. No warning.
# The reason is a transposed matrix: the header stores the three axes one after another (its field Mdc is commented as
# "TRANSPOSE of direction cosine matrix"), and the default is written into it untransposed. The same volume with these
# very axes stored, and the flag 1, is read as L I A. A plain MGHHeader() starts with the same wrong default.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import struct, sys
import nibabel
import numpy as np

shape = (3, 4, 5)
voxels = np.arange(60, dtype=">i2")
left, down, forward = (-1, 0, 0), (0, 0, -1), (0, 1, 0)

def read(flag, spacing, axes, centre):
    header = struct.pack(">7ih", 1, *shape, 1, 4, 0, flag)  # version, sizes, frames, type short, dof, goodRASFlag
    header += struct.pack(">15f", *spacing, *(v for axis in axes for v in axis), *centre)
    with open(path := f"{sys.argv[1]}/a.mgh", "wb") as file:
        file.write(header.ljust(284, b"\0") + voxels.tobytes())
    image = nibabel.load(path)
    assert np.array_equal(image.dataobj, voxels.reshape(shape, order="F"))
    codes = "".join(nibabel.aff2axcodes(image.affine))
    print(f"goodRASFlag {flag}: {codes}, {image.affine[:3, :3].astype(int).tolist()}")
    return codes, image.affine

stored, affine = read(1, (1, 1, 1), (left, down, forward), (0, 0, 0))
assert stored == "LIA" and np.array_equal(affine[:3, :3], np.array([left, down, forward]).T)
nothing, default = read(0, (0, 0, 0), [(0, 0, 0)] * 3, (0, 0, 0))
assert nothing == "LSP", "the default orientation changed"
assert np.array_equal(default[:3, :3], affine[:3, :3].T) and not np.array_equal(default, affine)
fresh = nibabel.freesurfer.mghformat.MGHHeader()
fresh.set_data_shape(shape)
print("MGHHeader():", "".join(nibabel.aff2axcodes(fresh.get_affine())))
assert nibabel.aff2axcodes(fresh.get_affine()) == ("L", "S", "P")
PY
