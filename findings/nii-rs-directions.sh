#!/bin/bash
# nii-rs 0.1.2 (PyPI and crates.io, "SimpleITK/Nibabel-like APIs", in Rust) against SimpleITK 2.5.7 and nibabel 5.4.2
# (PyPI; numpy 2.2.6; CPython 3.11): where a voxel is, in valid NIfTI files with voxels of 1 x 2 x 3 mm.
#  1. get_direction(), "ITK style". ITK's direction has columns of length 1; lengths stand in the spacing. Seen: columns
#     of length 1, 2 and 3, while get_spacing() is 1, 2, 3 as well. With voxels of 1 mm it is right.
#  2. set_direction() with what get_direction() gave. Expected: nothing changes. Seen: voxels of 1 x 4 x 9 mm.
#     (set_direction() itself takes ITK's direction rightly.)
#  3. ijk2xyz(), "Pixel indices i,j,k -> Physical positions (ITK style, i.e.: [x, y, z])". Seen: origin + index x
#     spacing, and the direction is never looked at. That is right for an image whose axes run to the left and to the
#     back. In the usual order (RAS) x and y run the wrong way: voxel 1, 2, 3 of a small volume lies 8 mm from where it
#     is said to be, voxel 100, 100, 50 lies 447 mm from there. xyz2ijk() goes back in the same way, and
#     its answer for a place that ITK knows as voxel 1, 2, 3 is -1, -2, 3.
# get_affine(), get_origin(), get_spacing(), the voxels and what write_image() writes are right. Nothing is said.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nii-rs==0.1.2 SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import nibabel
import nii
import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine

path, spacing = f"{sys.argv[1]}/image.nii.gz", np.array([1, 2, 3.])
voxels = np.arange(6 * 8 * 10, dtype=np.int16).reshape(6, 8, 10)
cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
frames = {"RAS": np.eye(3), "RAS, turned by 20 degrees": [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]],
          "LPS": np.diag([-1, -1, 1.]), "sagittal": [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], "RAS, cubes": np.eye(3)}
indices = [[1, 2, 3], [100, 100, 50]]

for name, axes in frames.items():
    sizes = np.ones(3) if "cubes" in name else spacing
    affine = nibabel.affines.from_matvec(axes * sizes, [-10, -20, -30])
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.to_filename(path)
    seen, want = nii.read_image(path, np.int16), sitk.ReadImage(path)
    assert np.allclose(seen.get_affine(), affine, atol=1e-5)
    assert np.array_equal(seen.ndarray(), sitk.GetArrayFromImage(want))
    assert np.allclose(seen.get_origin(), want.GetOrigin()) and np.allclose(seen.get_spacing(), want.GetSpacing())

    direction, right = np.array(seen.get_direction()), np.reshape(want.GetDirection(), (3, 3))
    lengths = np.linalg.norm(direction, axis=0)
    print(f"{name}: columns of the direction should be {np.linalg.norm(right, axis=0).round(3).tolist()} long,",
          f"are {lengths.round(3).tolist()}")
    assert np.allclose(direction, right * sizes, atol=1e-5), "the direction changed"
    seen.set_direction(direction)
    print("  set again: voxels of", np.round(seen.get_spacing(), 3).tolist(), "mm")
    assert np.allclose(seen.get_spacing(), sizes ** 2), "a direction set again changed"
    seen = nii.read_image(path, np.int16)
    seen.set_direction(right)
    assert np.allclose(seen.get_affine(), affine, atol=1e-5)

    for index in indices:
        place, said = np.array(want.TransformIndexToPhysicalPoint(index)), np.array(seen.ijk2xyz(index))
        assert np.allclose(place, apply_affine(affine, index) * [-1, -1, 1], atol=1e-4)
        print(f"  voxel {index} is at {place.round(2).tolist()}, by nii-rs at {said.round(2).tolist()}:",
              f"{np.linalg.norm(place - said):.1f} mm off")
        assert np.allclose(said, np.array(want.GetOrigin()) + index * sizes, atol=1e-4), "the places changed"
        assert np.allclose(place, said) == (name == "LPS")
    back = seen.xyz2ijk(list(want.TransformIndexToPhysicalPoint([1, 2, 3])))
    print("  and the place of voxel [1, 2, 3] is that of voxel", back)
    assert (back == [1, 2, 3]) == (name == "LPS") and (not name == "RAS" or back == [-1, -2, 3]), "the indices changed"
PY
