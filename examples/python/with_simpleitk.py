"""Segment an image that SimpleITK has read.   python with_simpleitk.py IMAGE BOXES.json OUT"""

import sys

import medsegx
import SimpleITK as sitk

image = sitk.ReadImage(sys.argv[1])
result = medsegx.Model().segment(image, boxes=sys.argv[2])
mask = sitk.GetImageFromArray(result.labels)
mask.CopyInformation(image)
sitk.WriteImage(mask, sys.argv[3])
