#!/bin/bash
# nibabel 5.4.2 (PyPI; numpy 2.2.6; CPython 3.11): slices of a CIFTI-2 SeriesAxis, the time axis of a dtseries.
# Documentation: "Numpy indexing also works on axes"; a SeriesAxis takes "slices without breaking the regular
# structure". So axis[s] must describe the rows data[s].
#  1. Every second of 7 volumes, axis[::2]. Expected: times 0, 2, 4, 6. Seen: 0, 2, 4, the last volume is lost. The
#     number of elements is the length divided by the step, rounded down where it must be rounded up. Even lengths are
#     right, which is why it goes unnoticed.
#  2. The last ten volumes, axis[-10:], of a run of 7. Python gives all 7. Seen: 10 elements at -3, -2, -1, 0, ..., 6:
#     three volumes before the scan began, and all others at an index that is not theirs.
# The times come without a word. An image of data[s] and axis[s] warns of its shape and cannot be saved.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    nibabel==5.4.2 numpy==2.2.6 packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys
import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

axis = SeriesAxis(start=0, step=1, size=7)
assert axis.time.tolist() == list(range(7))

def times(name, cut):
    want, seen = axis.time[cut].tolist(), axis[cut].time.tolist()
    print(f"{name}: should be {want}, is {seen}")
    return want, seen

want, seen = times("axis[1:5]", slice(1, 5))
assert seen == want
want, seen = times("axis[::2]", slice(None, None, 2))
assert want == [0, 2, 4, 6] and seen == [0, 2, 4], "steps changed"
want, seen = times("axis[::-2]", slice(None, None, -2))
assert want == [6, 4, 2, 0] and seen == [6, 4, 2], "backward steps changed"
want, seen = times("axis[-10:]", slice(-10, None))
assert want == list(range(7)) and seen == list(range(-3, 7)), "starts before the first volume changed"

cortex = BrainModelAxis.from_mask(np.ones(4, bool), name="cortex_left")
data = np.arange(28, dtype=np.float32).reshape(7, 4)
nibabel.save(Cifti2Image(data, (axis, cortex)), f"{sys.argv[1]}/all.dtseries.nii")
try:
    nibabel.save(Cifti2Image(data[::2], (axis[::2], cortex)), f"{sys.argv[1]}/half.dtseries.nii")
    raise AssertionError("every second volume is saved now")
except ValueError as error:
    print("saving every second volume:", error)
PY
