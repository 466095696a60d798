#!/bin/bash
# coord2region 0.1.5 (PyPI, "Find region name for a given MNI coordinate"; scipy 1.17.1, numpy 2.4.6; CPython 3.11):
# AtlasMapper with an atlas of three regions on a grid of 2 mm: a long one, as the cingulate gyrus is (120 mm), and two
# small ones beside it.
#  1. mni_to_region_name() of a place in no region. Documentation of max_distance: "If provided, fall back to the
#     nearest region". Without it: expected "Unknown". Seen: always a region, even 300 mm away, outside of the head.
#  2. The nearest region. A place 2 mm beside the long region, 24 mm from a small one. Expected: the long one. Seen: the
#     small one. Centroids are compared, so a long or bent region is found only near its middle. The same class's
#     distance_to_region_boundary() knows better: 2 and 24 mm.
#  3. return_distance, "the distance to the reported region", and max_distance. Seen: the distance to its centroid. A
#     place 2 mm beside a small region is 6 mm from it, and max_distance=5 makes it "Unknown", while every voxel of the
#     long one, up to 59 mm from its centroid, is at distance 0.
#  4. membership_scores() with a list of labels whose first one is that of 0, "Background", as nilearn's list of the
#     Harvard-Oxford atlas; region_name_from_index() reads such a list rightly. Seen: the scores are those of regions 1,
#     2, 3, and the names those of 0, 1, 2: at the centre of region 3 the best is region 2.
# Nothing is said in any case.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    coord2region==0.1.5 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 python-dateutil==4.0.0
PYTHONPATH="$d/p" python3 -W ignore - "$d" <<'PY'
import sys, types
from unittest.mock import MagicMock

# The package's own start asks for language models and downloads; the mapper needs neither. mne is for surfaces.
package = types.ModuleType("coord2region")
package.__path__ = [f"{sys.argv[1]}/p/coord2region"]
sys.modules.update({"coord2region": package, "coord2region.fetching": MagicMock(), "mne": MagicMock()})

import numpy as np
from coord2region.coord2region import AtlasMapper
from scipy.spatial import cKDTree

affine = np.array([[2, 0, 0, -70], [0, 2, 0, -70], [0, 0, 2, -40], [0, 0, 0, 1.]])
atlas = np.zeros((70, 70, 40), int)
atlas[30:33, 5:65, 20:23] = 1
atlas[45:50, 8:13, 19:24] = 2
atlas[45:50, 57:62, 19:24] = 3
labels = ["Background", "long", "back", "front"]
mapper = AtlasMapper("three", atlas, affine, labels=labels)
trees = {labels[i]: cKDTree(np.argwhere(atlas == i) @ affine[:3, :3].T + affine[:3, 3]) for i in (1, 2, 3)}
place = lambda *voxel: affine[:3, :3] @ voxel + affine[:3, 3]

def look(name, coordinate, **options):
    """-> what the mapper says, and the distances to the nearest voxel of each region"""
    region, said = mapper.mni_to_region_name(coordinate, return_distance=True, **options)
    away = {label: round(float(tree.query(coordinate)[0]), 1) for label, tree in trees.items()}
    assert all(np.isclose(mapper.distance_to_region_boundary(coordinate, k), v, atol=0.05) for k, v in away.items())
    print(f"{name}: {np.round(coordinate, 1).tolist()} is {away} mm from the regions; said: {region}, {said:.1f} mm")
    return region, round(float(said), 1), away

for voxel, want in (((31, 35, 21), "long"), ((31, 6, 21), "long"), ((47, 10, 21), "back"), ((47, 59, 21), "front")):
    region, said, away = look("inside", place(*voxel))
    assert (region, said, away[want]) == (want, 0, 0)
region, said, away = look("far outside", place(47, 59, 21) + [0, 300, 0])
assert (region, said) == ("front", 300) and min(away.values()) > 290, "places outside changed"
region, said, away = look("beside the long one", place(33, 10, 21))
assert region == "back" and away["long"] == 2 and away["back"] == 24, "the nearest region changed"
region, said, away = look("beside the back one", place(50, 10, 21))
assert region == "back" and away["back"] == 2 and said == 6, "the distance changed"
region, said, away = look("the same, at most 5 mm", place(50, 10, 21), max_distance=5)
assert region == "Unknown" and away["back"] == 2, "max_distance changed"

scores = mapper.membership_scores(place(47, 59, 21))
best = max(scores, key=scores.get)
print("scores at the centre of region 3, front:", {name: f"{float(score):.2g}" for name, score in scores.items()})
assert mapper.region_name_from_index(3) == "front"
assert best == "back" and "front" not in scores and scores["back"] > 0.99, "the names of the scores changed"
PY
