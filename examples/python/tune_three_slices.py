"""Tune the decoder on three labelled slices and segment with it.   python tune_three_slices.py IMAGE LABELS BOXES.json OUT"""

import sys

import medsegx

image, labels, boxes, out = sys.argv[1:]
tuned = medsegx.tune(image, labels, out, label=1, task="CT_Liver", slices=[8, 10, 12], steps=12, force=True)
print(f"Dice {tuned.before['choice']:.3f} -> {tuned.after['choice']:.3f} ({tuned.validation})")
if tuned.path is None:
    sys.exit("validation did not improve: nothing was written")
result = medsegx.Model(tuned=tuned.path).segment(image, boxes=boxes)
print(result)
