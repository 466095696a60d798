#!/bin/bash
# intensity-normalization 3.0.1 (PyPI, "normalizing MR image intensities"; scipy 1.17.1, scikit-fuzzy 0.5.0, nibabel
# 5.4.2, numpy 2.4.6; CPython 3.11): an MR image of CSF, grey and white matter with 300, 550 and 800 on average.
# Method "kde", "kernel density estimation of tissue modes": the image is divided by the mode of white matter (t1), of
# the most frequent tissue (t2) or of the darkest one (pd), so that this tissue gets 1; in which unit a scanner counts
# can make no difference. Seen: with all values divided by 100 it is so. With the values as they are, as of most
# scanners, it divides by 570 to 576, wherever the modes are: white matter gets 1.40, CSF 0.52 in place of 1, silently.
# The bandwidth, a share of the largest value, is handed to scipy as a factor of the standard deviation, and smooths all
# tissues into one. Method "whitestripe" looks for the same modes with a bandwidth of scipy's and is right.
set -eu
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
pip install -q --disable-pip-version-check --root-user-action ignore --no-compile --no-deps --target "$d/p" \
    intensity-normalization==3.0.1 scipy==1.17.1 scikit-fuzzy==0.5.0 networkx==3.6.1 nibabel==5.4.2 numpy==2.4.6 \
    packaging==26.4 typing-extensions==4.16.0
PYTHONPATH="$d/p" python3 -W ignore - <<'PY'
import numpy as np
from intensity_normalization import WhiteStripeNormalizer, create_image, normalize_image

random = np.random.default_rng(0)
tissues = {"CSF": (300, 25, 20000), "grey matter": (550, 35, 40000), "white matter": (800, 30, 30000)}
values = np.concatenate([random.normal(mean, sd, count) for mean, sd, count in tissues.values()]).reshape(90, 100, 10)
names = np.repeat(list(tissues), [count for _, _, count in tissues.values()]).reshape(90, 100, 10)
found = {}
for unit in (1, 0.01):
    for modality, tissue in (("t1", "white matter"), ("t2", "grey matter"), ("pd", "CSF")):
        image = normalize_image(values * unit, "kde", modality=modality)
        tissue_is = image.get_data()[names == tissue].mean()
        divided = (values * unit).mean() / image.get_data().mean() / unit
        found[unit, modality] = tissue_is, divided
        print(f"kde, values times {unit}, {modality}: divided by {divided:.0f}; {tissue}, which should be 1, is",
              f"{tissue_is:.2f}")
stripes = [WhiteStripeNormalizer().fit(create_image(values * unit)).mean / unit for unit in (1, 0.01)]
print(f"whitestripe: white matter at {stripes[0]:.0f} and {stripes[1]:.0f}, 800 is right")

assert all(abs(found[0.01, modality][0] - 1) < 0.03 for modality in ("t1", "t2", "pd")), "not right in small units"
assert all(abs(stripe - 800) < 10 for stripe in stripes)
assert all(565 < found[1, modality][1] < 580 for modality in ("t1", "t2", "pd")), "another mode"
assert round(found[1, "t1"][0], 1) == 1.4 and round(found[1, "pd"][0], 1) == 0.5
PY
