#!/bin/bash
# nitransforms 25.1.0 (PyPI, the transforms of the NiPreps; nibabel 5.4.2, scipy 1.17.1, numpy 2.2.6; CPython 3.11)
# against fslpy 3.29.1 (PyPI, FSL's own library): dense fields that move each voxel.
#  1. to_filename(), "Store the transform in the designated format". The files of ITK, AFNI and FSL hold displacements.
#     A composed transform (warp @ other) holds "deformations", the places that voxels are moved to. Seen: these are
#     written as they are. A warp by 3, 4, 0 mm, composed with the identity, saved and loaded again moves a voxel at
#     24, 12, 18 to 51, 28, 36: by its own place once more. (X5 files say which of the two they hold.)
#  2. A field of 64-bit floats, saved twice. Seen: the second file is mirrored. The signs for the format are turned in
#     the transform's own array, so the first file is right and every second one, of whatever format, is not.
#  3. map() of a point outside the field, by a comment in it "no displacement". Seen: if all points are on the field's
#     grid, as with a reference padded by whole voxels, index -1 is taken for the last voxel. A field of zeros moves
#     -2, -10, 3 to 38, -10, 3, and apply() fills two slices of padding with two of the other side of the head.
#  4. An FSL warp (intent 2006). Its displacements are along the axes of the voxels, the first one reversed in a
#     right-handed image; fslpy turns them with the affine. Seen: x is negated and that is all, which is right for axial
#     images alone. 3, 5, 7 mm in a sagittal image are -3, 5, 7 to the right, the front and the top, where 7, 3, -5 is
#     meant; in an image tilted by 20 degrees a voxel lands 3 mm off.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nitransforms==25.1.0 nibabel==5.4.2 numpy==2.2.6 scipy==1.17.1 h5py==3.16.0 packaging==26.4 \
    typing-extensions==4.16.0 fslpy==3.29.1 dill==0.4.1
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import nibabel
import numpy as np
from fsl.data.image import Image
from fsl.transform.fnirt import fromFnirt, readFnirt
from nibabel.affines import apply_affine
from nitransforms.linear import Affine
from nitransforms.nonlinear import DenseFieldTransform
from nitransforms.resampling import apply

shape, path = (20, 24, 16), f"{sys.argv[1]}/warp.nii.gz"
axial = np.array([[2, 0, 0, 0], [0, 2, 0, -20], [0, 0, 3, -15], [0, 0, 0, 1.]])

def field(vector, affine, kind=np.float32):
    image = nibabel.Nifti1Image(np.full((*shape, 3), vector, kind), affine)
    image.header["intent_code"] = 2006
    return image

def saved(transform, form, points):
    transform.to_filename(path, fmt=form)
    return DenseFieldTransform.from_filename(path, fmt=form).map(points)

point = apply_affine(axial, [[12, 16, 11]])
want = point + [3, 4, 0]
for form in ("itk", "afni", "fsl"):
    warp = DenseFieldTransform(field([3, 4, 0], axial))
    composed = warp @ Affine()
    assert np.allclose(warp.map(point), want) and np.allclose(composed.map(point), want)
    alone, whole = saved(warp, form, point), saved(composed, form, point)
    print(f"{form}: {point[0].tolist()} should be moved to {want[0].tolist()}, is to {alone[0].tolist()},",
          f"and composed with the identity to {whole[0].tolist()}")
    assert np.allclose(alone, want) and np.allclose(whole, point + want), "composed transforms changed"
    wide = DenseFieldTransform(field([3, 4, 0], axial, np.float64))
    moves = [(saved(wide, form, point) - point)[0].round(4).tolist() for _ in range(2)]
    print(f"{form}, 64 bits: 3, 4, 0 in the first file is {moves[0]}, in the second {moves[1]}")
    assert moves == [[3, 4, 0], [-3, 4 if form == "fsl" else -4, 0]], "saving twice changed"

still = DenseFieldTransform(field([0, 0, 0], axial))
outside = apply_affine(axial, [[-1, 5, 6]])
print("outside:", outside[0].tolist(), "is moved to", still.map(outside)[0].tolist(), "and a point 0.2 mm beside it to",
      still.map(outside + 0.2)[0].round(4).tolist())
assert np.allclose(still.map(outside), apply_affine(axial, [[19, 5, 6]])), "points outside changed"
assert np.allclose(still.map(outside + 0.2), outside + 0.2)
image = nibabel.Nifti1Image(np.random.default_rng(0).random(shape), axial)
padded = nibabel.Nifti1Image(np.zeros((22, *shape[1:])), axial @ nibabel.affines.from_matvec(np.eye(3), [-2, 0, 0]))
seen = apply(still, image, reference=padded, order=0).get_fdata()
print("padding should be 0, is the other side:", np.array_equal(seen[:2], image.get_fdata()[-2:]))
assert np.array_equal(seen[2:], image.get_fdata()) and np.array_equal(seen[:2], image.get_fdata()[-2:])

angle = np.radians(20)
cos, sin = np.cos(angle), np.sin(angle)
tilt = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
sagittal = np.array([[0, 0, 3, -15], [-2, 0, 0, 20], [0, -2, 0, 20], [0, 0, 0, 1.]])
cases = {"axial": (axial, [-3, 5, 7]), "left-handed": (axial @ np.diag([-1, 1, 1, 1]), [-3, 5, 7]),
         "sagittal": (sagittal, [7, 3, -5]), "tilted": (tilt @ axial, [-3, 2.304, 8.288])}
for name, (affine, want) in cases.items():
    nibabel.save(field([3, 5, 7], affine), path)
    target = Image(nibabel.Nifti1Image(np.zeros(shape, np.float32), affine))
    point = apply_affine(affine, [[8, 9, 7]])
    by_fsl = (fromFnirt(readFnirt(path, target, target), "world", "world").transform(point) - point)[0]
    seen = (DenseFieldTransform.from_filename(path, fmt="fsl").map(point) - point)[0]
    print(f"{name}: 3, 5, 7 mm by FSL: fslpy {by_fsl.round(3).tolist()}, nitransforms {seen.round(3).tolist()}")
    assert np.allclose(by_fsl, want, atol=1e-3) and np.allclose(seen, [-3, 5, 7], atol=1e-4), "FSL's fields changed"
PY
