#!/bin/bash
# nifreeze 0.1.0 (PyPI, head motion in diffusion MRI and PET, of the NiPreps; with nitransforms 25.1.0, nibabel 5.4.2,
# h5py 3.16.0, numpy 2.2.6; CPython 3.11): what it writes after a motion was estimated, and the times of PET frames.
#  1. DWI.to_nifti() of a scan with motion. Images are resampled, and the directions of the gradients are turned with
#     them, "in FSL/DIPY conventions (i.e., voxel coordinates)". By FSL's definition, which BIDS has taken over, a .bvec
#     is along the axes of the voxels, the first one reversed if the affine's determinant is positive. Input: a scan in
#     the order LAS, and with its first axis reversed (RAS), which has the same .bvec; a turn of the head by 20 degrees.
#     Expected: the same .bvec for both. Seen: LAS is right. The one of RAS, the commoner order, is turned the wrong way
#     about two of three axes: it is 40 degrees off, and the fibres of a tensor fitted to it lie elsewhere.
#  2. The same with voxels of 1.5 x 1.5 x 4 mm. A turn keeps the length of a direction. Seen: lengths of 0.85 to 1.46,
#     and 24 degrees off in LAS as well. Whole affines are multiplied, voxel sizes included.
#  3. nifreeze.data.pet.from_nii(). BIDS demands FrameTimesStart and FrameDuration. Seen: FrameDuration is not
#     looked at. A frame is taken to last until the next one starts, and the last one as long as the one before. With a
#     pause between two scans, 0 to 120 s and 3600 to 4200 s, frames whose middles are at 30, 90 and 3900 s are put at
#     30, 1830 and 5370 s, and the scan ends at 7140 s.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nifreeze==0.1.0 nitransforms==25.1.0 nibabel==5.4.2 numpy==2.2.6 scipy==1.17.1 h5py==3.16.0 attrs==26.1.0 \
    packaging==26.4 typing-extensions==4.16.0
export HOME="$d"
PYTHONPATH="$d/p" TMPDIR="$d" python3 -W ignore - "$d" <<'PY'
import json, sys
import nibabel
import numpy as np
from nifreeze.data import pet
from nifreeze.data.dmri import DWI

folder = sys.argv[1]
bvecs = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0, 0.6, 0.8], [0.6, 0, 0.8]])
table = np.column_stack([bvecs, np.full(6, 1000)])
voxels = np.random.default_rng(0).random((8, 9, 10, 6)).astype(np.float32)
cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
turns = {"x": [[1, 0, 0], [0, cos, -sin], [0, sin, cos]], "y": [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]],
         "z": [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]}

def by_fsl(affine, turn):
    """-> the directions in the frame of the unmoved head, by FSL's definition"""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.linalg.det(axes) > 0:
        axes = axes * [-1, 1, 1]
    return bvecs @ axes.T @ np.array(turn) @ axes  # row vectors: times the turn is by its inverse

def written(voxels, affine, turn):
    motion = np.repeat(nibabel.affines.from_matvec(np.array(turn), np.zeros(3))[None], 6, 0)
    image = DWI(dataobj=voxels, affine=affine, gradients=table, motion_affines=motion).to_nifti(f"{folder}/dwi.nii")
    return image.get_fdata(), np.loadtxt(f"{folder}/dwi.bvec").T

def apart(a, b):
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).max()

for size in ((2, 2, 2), (1.5, 1.5, 4)):
    las = nibabel.affines.from_matvec(np.diag(size) * [-1, 1, 1], [6, -7, -8])
    ras = las @ nibabel.affines.from_matvec(np.diag([-1, 1, 1]), [7, 0, 0])
    for axis, turn in turns.items():
        want = by_fsl(las, turn)
        assert np.allclose(want, by_fsl(ras, turn))
        image, seen = written(voxels, las, turn)
        same, other = written(voxels[::-1], ras, turn)
        assert np.allclose(image, same[::-1], atol=1e-5)  # the images are the same in both orders
        lengths = np.linalg.norm([seen, other], axis=-1)
        print(f"voxels {size}, turn about {axis}: LAS {apart(seen, want):.1f} degrees off,",
              f"RAS {apart(other, want):.1f}; lengths {lengths.min():.2f} to {lengths.max():.2f}")
        if size == (2, 2, 2):
            assert np.allclose(seen, want, atol=1e-5), "LAS changed"
            assert np.isclose(apart(other, want), 0 if axis == "x" else 40, atol=0.1), "RAS changed"
        elif axis != "z":
            assert 10 < apart(seen, want) < 25 and lengths.min() < 0.96 and lengths.max() > 1.4, "flat voxels changed"

with open(f"{folder}/pet.json", "w") as file:
    json.dump({"FrameTimesStart": [0, 60, 3600], "FrameDuration": [60, 60, 600]}, file)
nibabel.save(nibabel.Nifti1Image(voxels[..., :3], las), f"{folder}/pet.nii")
scan = pet.from_nii(f"{folder}/pet.nii", f"{folder}/pet.json")
print("PET: middles should be [30, 90, 3900] s and the end 4200 s, are", scan.midframe.tolist(), "and",
      scan.total_duration)
assert scan.midframe.tolist() == [30, 1830, 5370] and scan.total_duration == 7140, "the times of PET frames changed"
PY
