#!/bin/bash
# surfa 0.6.3 (PyPI, FreeSurfer's Python library; nibabel 5.4.2, numpy 2.2.6; CPython 3.11): NIfTI files loaded and
# saved again, with nothing done between. By nifti1.h xyzt_units says the units of pixdim and of places.
#  1. The time between volumes, 2000 ms. Expected: 2000 ms or 2 s. Seen: 2 ms. load() turns the number into
#     milliseconds, save() divides by 1000 to write seconds, and then names the unit of the file that was loaded.
#     2000000 us become 2 us. With no unit of time (many programs leave it out, and readers take seconds) 0 is left.
#  2. A volume in micrometres, voxels of 100 x 100 x 200, first voxel at 1000, 2000, 3000, as of a mouse brain.
#     Expected, as load() says "always convert to mm": voxels of 0.1 x 0.1 x 0.2 mm at 1, 2, 3 mm.
#     Seen: such voxels, and the first one at 1499.5, 2499.5, 3999: the sizes are converted, and the centre of the
#     volume is kept as a number, so the volume is thrown a thousand times too far from the origin. The file that is
#     saved says mm. In metres everything collapses to the origin.
# In seconds and millimetres all is right. Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    surfa==0.6.3 nibabel==5.4.2 numpy==2.2.6 scipy==1.17.1 xxhash==3.6.0 packaging==26.4 \
    typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import math, sys
import nibabel
import numpy as np
import surfa

def again(affine, space, time, number):
    image = nibabel.Nifti1Image(np.zeros((10, 10, 10, 3), np.float32), np.array(affine, float))
    image.header.set_xyzt_units(space, time)
    image.header["pixdim"][4] = number
    before, after = (f"{sys.argv[1]}/{name}.nii" for name in ("before", "after"))
    nibabel.save(image, before)
    assert nibabel.load(before).header.get_zooms()[3] == number
    surfa.load_volume(before).save(after)
    return nibabel.load(after)

def interval(number, unit):
    header = again(np.diag([2, 2, 3, 1]), "mm", unit, number).header
    seen, named = float(header.get_zooms()[3]), header.get_xyzt_units()[1]
    print(f"{number:g} {unit}: after load and save {seen:g} {named}")
    return seen, named

def place(unit, factor):
    affine = np.array([[.1, 0, 0, 1], [0, .1, 0, 2], [0, 0, .2, 3], [0, 0, 0, 1 / factor]]) * factor
    image = again(affine, unit, "sec", 2)
    zooms, first = (np.array(v, float).round(4).tolist() for v in (image.header.get_zooms()[:3], image.affine[:3, 3]))
    print(f"in {unit}: after load and save voxels of {zooms}, the first at {first} {image.header.get_xyzt_units()[0]}")
    assert np.allclose(zooms, [.1, .1, .2], atol=1e-4) and image.header.get_xyzt_units()[0] == "mm"
    return first

assert interval(2, "sec") == (2, "sec")
seen, named = interval(2000, "msec")
assert math.isclose(seen, 2, rel_tol=1e-6) and named == "msec", "milliseconds are kept now"
seen, named = interval(2e6, "usec")
assert math.isclose(seen, 2, rel_tol=1e-6) and named == "usec", "microseconds are kept now"
assert interval(2, "unknown")[0] == 0, "a number without a unit is kept now"
assert np.allclose(place("mm", 1), [1, 2, 3])
assert np.allclose(place("micron", 1000), [1499.5, 2499.5, 3999]), "micrometres are converted now"
assert np.allclose(place("meter", .001), [-.4985, -.4975, -.996], atol=1e-3), "metres are converted now"
PY
