"""Encode a slice once and prompt it many times.   python prompt_many.py IMAGE SLICE x0,y0,x1,y1 ..."""

import sys
import time

import medsegx
import nibabel
import numpy as np

volume = np.asarray(nibabel.load(sys.argv[1]).dataobj)
session = medsegx.Model().session()
start = time.perf_counter()
session.set_slice(volume[:, :, int(sys.argv[2])].T, task="CT_Liver")  # rows are y, columns x
print(f"encoded in {1000 * (time.perf_counter() - start):.0f} ms")
for box in sys.argv[3:]:
    start = time.perf_counter()
    found = session.prompt([int(number) for number in box.split(",")])
    took = 1000 * (time.perf_counter() - start)
    print(f"{box}: {found.mask.sum()} pixels, agreement {found.agreement:.2f}, {took:.0f} ms")
