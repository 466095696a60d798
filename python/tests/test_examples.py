"""Every file of examples/python runs as its first lines say."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import PHANTOM, PHANTOM_BOXES, ROOT, pattern

EXAMPLES = ROOT / "examples/python"
LABELS = ROOT / "tests/data/phantom_labels.nii.gz"

nibabel = pytest.importorskip("nibabel")


def run(name, *args):
    done = subprocess.run([sys.executable, EXAMPLES / name, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def boxes(tmp_path):
    """The liver's box on two slices: enough to see that an example works."""
    file = json.loads(PHANTOM_BOXES.read_text())
    liver = file["targets"][0]
    liver["slices"] = {key: liver["slices"][key] for key in ("10", "11")}
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({**file, "targets": [liver]}))
    return path


@pytest.fixture
def expected(model, boxes):
    return model.segment(PHANTOM, boxes=boxes)


def test_every_example_is_run():
    here = open(__file__).read()
    assert all(f'"{path.name}"' in here for path in EXAMPLES.glob("*.py"))


def test_with_nibabel(boxes, expected, tmp_path):
    said = run("with_nibabel.py", PHANTOM, boxes, tmp_path / "mask.nii.gz")
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), expected.labels) and said.startswith("liver: ")


def test_with_simple_itk(boxes, expected, tmp_path):
    pytest.importorskip("SimpleITK")
    run("with_simpleitk.py", PHANTOM, boxes, tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), expected.labels)


def test_prompt_many():
    said = run("prompt_many.py", PHANTOM, 10, "22,43,103,108", "129,40,148,81").splitlines()
    assert len(said) == 3 and all("pixels" in line for line in said[1:])


def test_tune_three_slices(boxes, tmp_path):
    # Whether so short a tuning is kept is the validation's to say.
    done = subprocess.run(
        [sys.executable, EXAMPLES / "tune_three_slices.py", PHANTOM, LABELS, boxes, tmp_path / "tuned.safetensors"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("Dice 0."), done.stderr
    assert done.returncode == 0 or "validation did not improve" in done.stderr


def test_nnunet_folder(boxes, expected, tmp_path):
    dataset = tmp_path / "Dataset001_Phantom"
    (dataset / "imagesTs").mkdir(parents=True)
    (dataset / "boxes").mkdir()
    (dataset / "imagesTs/case_1_0000.nii.gz").write_bytes(PHANTOM.read_bytes())
    (dataset / "boxes/case_1.json").write_bytes(boxes.read_bytes())
    run("nnunet_folder.py", dataset)
    assert np.array_equal(np.asarray(nibabel.load(dataset / "labelsTs/case_1.nii.gz").dataobj), expected.labels)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "python/README.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    shape = (320, 270, 80)
    image = nibabel.Nifti1Image(pattern(shape), np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(image, tmp_path / "ct.nii.gz")
    drawn = np.zeros(shape, np.uint8)
    drawn[120:200, 80:160, 40] = 3
    monkeypatch.chdir(tmp_path)
    scope = {"drawn": drawn}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
    assert scope["result"].labels.any() and scope["result"].labels.shape == shape
    written = tmp_path / "liver.nii.gz"
    assert page == "python/README.md" or np.asarray(nibabel.load(written).dataobj).any()
