"""Segment a folder in nnU-Net's layout: imagesTs/CASE_0000.nii.gz in, labelsTs/CASE.nii.gz out; boxes/CASE.json beside them.

python nnunet_folder.py DATASET
"""

import pathlib
import sys

import medsegx
import nibabel

dataset = pathlib.Path(sys.argv[1])
model = medsegx.Model()
(dataset / "labelsTs").mkdir(exist_ok=True)
for path in sorted((dataset / "imagesTs").glob("*_0000.nii.gz")):
    case = path.name.removesuffix("_0000.nii.gz")
    image = nibabel.load(path)
    result = model.segment(image, boxes=dataset / "boxes" / f"{case}.json")
    nibabel.save(nibabel.Nifti1Image(result.labels, image.affine), dataset / "labelsTs" / f"{case}.nii.gz")
    print(case, result)
