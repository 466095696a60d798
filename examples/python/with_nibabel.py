"""Segment a NIfTI image that nibabel has loaded.   python with_nibabel.py IMAGE BOXES.json OUT"""

import sys

import medsegx
import nibabel

image = nibabel.load(sys.argv[1])
result = medsegx.Model().segment(image, boxes=sys.argv[2])
nibabel.save(nibabel.Nifti1Image(result.labels, image.affine), sys.argv[3])
for target in result.targets:
    print(f"{target.name}: {target.volume_mm3 / 1000:.1f} ml")
