#!/bin/bash
# nifti-zarr 1.0.0rc8 (PyPI, the newest; all are candidates; zarr 3.1.6, scikit-image 0.26.0, dask 2026.8.0, nibabel
# 5.4.2, numpy 2.2.6; CPython 3.11): converts between NIfTI and NIfTI-Zarr, an OME-Zarr with a NIfTI header in it.
#  1. A CT with stored numbers, slope 2 and intercept -1024, there and back. nii2zarr() keeps the numbers, and slope and
#     intercept in the header. Seen: zarr2nii() leaves both out, in memory and in the file: 7166 HU become 4095.
#  2. A label map (intent 1002) in which every voxel has a label, 1 or 2, as maps of tissue classes do.
#     Seen: in all smaller sizes the lowest label is 0, which is none of the labels. With a 0 somewhere it is right.
#  3. method="laplacian", "Method used to compute the pyramid". Expected: level 0 is the image, whatever is done to the
#     smaller ones. Seen: level 0 holds the image less its smoothed copy. The image is lost, and what is below 0 wraps.
#  4. An OME-Zarr whose voxel size, 5000 x 500 x 500 micrometres, stands in the transformations of the whole pyramid
#     (OME-Zarr 0.4, "multiscales" metadata: "applied to all resolution levels in the same manner"; nii2zarr itself
#     writes the time between volumes there). Seen: never read, voxels of 0.001 mm. In the level's own it is right.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nifti-zarr==1.0.0rc8 nibabel==5.4.2 numpy==2.2.6 scipy==1.17.1 scikit-image==0.26.0 lazy-loader==0.6 \
    packaging==26.4 typing-extensions==4.16.0 zarr==3.1.6 numcodecs==0.16.6 donfig==0.8.1.post1 \
    google-crc32c==1.9.0 pyyaml==6.0.3 dask==2026.8.0 cloudpickle==3.1.3 fsspec==2026.9.0 toolz==1.2.0 \
    partd==1.4.2 locket==1.0.0 click==8.5.1 \
    importlib-metadata==10.2.0 lazy-importer==0.1.0 zipp==4.1.2
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import nibabel
import numpy as np
import zarr
from niizarr import nii2zarr, zarr2nii

folder = sys.argv[1]

def convert(name, voxels, slope=1, inter=0, intent="none", **options):
    image = nibabel.Nifti1Image(voxels, np.diag([1, 1, 5, 1]))
    image.header.set_slope_inter(slope, inter)
    image.header.set_intent(intent)
    nibabel.save(image, f"{folder}/{name}.nii")
    assert np.array_equal(nibabel.load(f"{folder}/{name}.nii").get_fdata(), voxels * float(slope) + inter)
    nii2zarr(f"{folder}/{name}.nii", f"{folder}/{name}.nii.zarr", **options)
    return zarr.open(f"{folder}/{name}.nii.zarr", mode="r")

stored = np.linspace(0, 4095, 8 * 9 * 10).astype(np.int16).reshape(8, 9, 10)
group = convert("ct", stored, 2, -1024)
assert (group["nifti"].attrs["ScaleSlope"], group["nifti"].attrs["ScaleOffset"]) == (2, -1024)
memory = zarr2nii(f"{folder}/ct.nii.zarr")
file = zarr2nii(f"{folder}/ct.nii.zarr", f"{folder}/back.nii")
print("CT: up to", stored.max() * 2 - 1024, "HU should be, is", memory.get_fdata().max(), "and", file.get_fdata().max())
assert np.array_equal(memory.get_fdata(), stored) and np.array_equal(file.get_fdata(), stored), "the scaling changed"
assert (file.dataobj.slope, file.dataobj.inter) == (1, 0)

def labels(name, voxels):
    group = convert(name, voxels, intent="label")
    seen = [np.unique(group[level]).tolist() for level in "01"]
    print(f"{name}: labels {seen[0]}, in half the size {seen[1]}")
    return seen

classes = np.ones((128, 64, 64), np.uint8)
classes[64:] = 2
assert labels("every voxel labelled", classes) == [[1, 2], [0, 2]], "the pyramid of labels changed"
classes[:20] = 0
assert labels("some with none", classes) == [[0, 1, 2], [0, 1, 2]]

image = (np.arange(128 * 64 * 64) % 3000).reshape(128, 64, 64).astype(np.uint16)
for method in ("gaussian", "laplacian"):
    same = np.array_equal(np.asarray(convert(method, image, method=method)["0"]).T, image)
    print(f"{method}: level 0 is the image: {same}")
    assert same == (method == "gaussian"), "level 0 changed"
back = np.asarray(zarr2nii(f"{folder}/laplacian.nii.zarr").dataobj)
print("laplacian: should be", image[0, 0, :4].tolist(), "is", back[0, 0, :4].tolist())
assert (back != image).mean() > 0.999 and back.max() > 65000

def size(name, level, pyramid):
    group = zarr.open_group(f"{folder}/{name}.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(10, 11, 12), dtype="u2")
    scale = lambda values: [{"type": "scale", "scale": values}]
    group.attrs["multiscales"] = [{
        "version": "0.4", "axes": [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": scale(level)}],
        "coordinateTransformations": scale(pyramid)}]
    affine = zarr2nii(f"{folder}/{name}.zarr", f"{folder}/{name}.nii").affine
    print(f"size in the transformation of the {name}:", np.diag(affine)[:3].tolist(), "mm")
    return np.diag(affine)[:3]

assert np.allclose(size("level", [5000, 500, 500], [1, 1, 1]), [0.5, 0.5, 5])
assert np.allclose(size("pyramid", [1, 1, 1], [5000, 500, 500]), 0.001), "the pyramid's transformation is read now"
PY
