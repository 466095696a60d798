#!/bin/bash
# medrs 0.2.0 (PyPI and crates.io, "Ultra-high-performance medical imaging I/O for deep learning", in Rust) against
# nibabel 5.4.2 (PyPI; numpy 2.2.6; CPython 3.11): valid NIfTI files.
#  1. save() of an image that was cut, padded, turned or mirrored. Expected in the file: the voxels that to_numpy()
#     shows, the first index running fastest (nifti1.h). Seen after crop_or_pad(), a crop of load_multi() and
#     random_rotate_90() by a quarter: right shape, right affine, and the voxels with the last index running fastest:
#     the picture is scrambled. After flip(): the voxels as they were, not mirrored. After reorient() and resample() the
#     file is right.
#  2. A label map of 32-bit integers, signed or not, as FreeSurfer's are once converted. Expected of to_numpy(),
#     "Similar to nibabel's get_fdata()", labels 1, 2, 3. Seen: 1.4e-45, 2.8e-45, 4.2e-45. Bits are taken for floats,
#     so "> 0.5" is an empty mask. to_numpy_native() is right, and so is to_numpy() with 8, 16 or 64 bits.
#  3. 32-bit floats in big endian order (nifti1.h, "BYTE ORDERING": a reader is to swap). Seen: not swapped, 1, 2, 3 are
#     4.6e-41, 9e-44, 2.3e-41. Integers of 16 bits and floats of 64 are swapped.
#  4. load_image_label_pair(..., crop_start, crop_size), "Load an image and label pair with coordinated spatial
#     processing". A label map that covers the organ only has the image's axes and voxels and another first voxel.
#     Expected: two patches of the same place, or an exception. Seen: both are cut at the same index, each of its own
#     grid. They have the same shape and lie 37 mm from each other: the label is not on the organ. load_multi(), "with
#     spatial alignment", does the same.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    medrs==0.2.0 nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import medrs
import nibabel
import numpy as np
from nibabel.affines import apply_affine

path = lambda name: f"{sys.argv[1]}/{name}.nii.gz"

def saved(name, voxels, affine=np.eye(4)):
    image = nibabel.Nifti1Image(voxels, affine, nibabel.Nifti1Header(endianness=voxels.dtype.str[0].replace("|", "<")))
    image.set_data_dtype(voxels.dtype)
    image.to_filename(path(name))
    return path(name)

affine = np.diag([1, 1, 3, 1.])
affine[:3, 3] = -30, -40, -20
shape = (40, 50, 30)
voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
name = saved("image", voxels, affine)
image = medrs.load(name)
crop = dict(crop_start=[2, 3, 4], crop_size=[8, 10, 12])
quarter = next(x for x in (medrs.random_rotate_90(image, (0, 1), seed=s) for s in range(99)) if x.shape == [50, 40, 30])
results = {"load": image, "reorient": image.reorient("LPS"), "resample": image.resample([2, 2, 2]),
           "crop_or_pad": image.crop_or_pad([24, 32, 20]), "crop_or_pad to more": image.crop_or_pad([48, 56, 32]),
           "load_multi": medrs.load_multi([{"path": name, "is_label": False}], **crop)[0],
           "random_rotate_90": quarter, "flip": image.flip([0])}
wrong = set(results) - {"load", "reorient", "resample"}
for name, result in results.items():
    result.save(path("saved"))
    shown, file = result.to_numpy(), nibabel.load(path("saved"))
    written = file.get_fdata()
    print(f"{name}: the file holds what to_numpy() shows: {np.array_equal(written, shown)};",
          f"{(written == shown).mean():.1%} of the voxels are the same")
    assert written.shape == shown.shape and np.allclose(file.affine, result.affine)
    if name == "flip":
        assert np.array_equal(shown, voxels[::-1]) and np.array_equal(written, voxels), "the saved flip changed"
    elif name in wrong:
        assert np.array_equal(written.ravel("F"), shown.ravel("C")), f"the file of {name} changed"
    else:
        assert np.array_equal(written, shown)

labels = np.arange(1, 9).reshape(2, 2, 2)
for kind in ("|u1", "<i2", ">i2", "<i4", "<u4", "<i8", "<f4", ">f4", ">f8"):
    name = saved("labels", labels.astype(kind))
    want, image = nibabel.load(name).get_fdata(), medrs.load(name)
    seen, native = image.to_numpy(), image.to_numpy_native()
    print(f"{kind}: should be {want.ravel()[:3].tolist()}, is {[float(f'{x:.2g}') for x in seen.ravel()[:3]]}")
    assert np.array_equal(want, labels)
    if kind in ("<i4", "<u4"):
        assert np.array_equal(seen, labels.astype(kind).view(np.float32)), "32-bit integers changed"
        assert np.array_equal(native, labels) and not (seen > 0.5).any()
    elif kind == ">f4":
        assert np.array_equal(seen, labels.astype(kind).view("<f4")), "big endian floats changed"
    else:
        assert np.array_equal(seen, labels), "another kind changed"

first, organ = np.array([20, 25, 6]), affine.copy()
organ[:3, 3] = apply_affine(affine, first)
files = path("image"), saved("label", np.ones((16, 16, 16), np.uint8), organ)
pair = medrs.load_image_label_pair(*files, **crop)
for x, y in (pair, medrs.load_multi([{"path": name, "is_label": name != files[0]} for name in files], **crop)):
    places = [np.array(z.affine)[:3, 3] for z in (x, y)]
    print(f"pair: shapes {x.shape} and {y.shape}, first voxels at {places[0].tolist()} and {places[1].tolist()},",
          f"{np.linalg.norm(places[1] - places[0]):.1f} mm apart")
    assert x.shape == y.shape == [8, 10, 12] and np.allclose(places[0], apply_affine(affine, [2, 3, 4]))
    assert np.allclose(places[1] - places[0], first * [1, 1, 3]), "pairs changed"
PY
