"""Rough masks instead of boxes: the command line's bytes for files, and the same for images and arrays."""

import medsegx
import numpy as np
import pytest
from conftest import AFFINE, BOX, pattern

SHAPE = (22, 19, 6)


def drawn():
    """Labels 2, in two parts on two slices that are not neighbours, and 5."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:9, 4:10, 1] = mask[4:10, 5:11, 4] = 2
    mask[13:18, 8:15, 1] = mask[12:17, 8:14, 4] = 2
    mask[1:3, 15:18, 2] = 5
    return mask


def boxes_of(result):
    return [(target.name, row["slice"], row["box"]) for target in result.targets for row in target.slices]


@pytest.fixture
def files(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(pattern(SHAPE), AFFINE), tmp_path / "image.nii")
    nibabel.save(nibabel.Nifti1Image(drawn(), AFFINE), tmp_path / "rough.nii")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (["--rough-label", "2", "--margin", "2"], {"rough_label": 2, "margin": 2}),
        (["--rough-label", "2", "--rough-label", "5"], {"rough_label": [2, 5]}),
        (["--rough-label", "2", "--rough-parts", "--interpolate"], {"rough_label": [2], "rough_parts": True, "interpolate": True}),
        (["--rough-threshold", "1.5"], {"rough_threshold": 1.5}),
    ],
    ids=["margin", "labels", "parts and between", "threshold"],
)
def test_a_rough_mask_is_that_of_the_command_line(model, cli, files, flags, asked):
    nibabel = pytest.importorskip("nibabel")
    image, rough = files / "image.nii", files / "rough.nii"
    code, said = cli("segment", image, "--rough", rough, "--task", "CT_Liver", "-o", files / "mask.nii", "--quiet", *flags)
    assert code == 0, said
    expected = np.asarray(nibabel.load(files / "mask.nii").dataobj)
    assert expected.any()
    by_path = model.segment(image, rough=rough, task="CT_Liver", **asked)
    assert by_path.labels.tobytes("F") == expected.tobytes("F")
    others = [
        model.segment(nibabel.load(image), rough=nibabel.load(rough), task="CT_Liver", **asked),
        model.segment(nibabel.load(image), rough=drawn(), task="CT_Liver", **asked),
        model.segment(pattern(SHAPE), affine=AFFINE, rough=np.asfortranarray(drawn()).astype(">i2"), task="CT_Liver", **asked),
        model.segment(image, rough=nibabel.load(rough), task="CT_Liver", **asked),
    ]
    for found in others:
        assert np.array_equal(found.labels, expected) and boxes_of(found) == boxes_of(by_path)
    if "interpolate" in asked:
        names = {name for name, _, _ in boxes_of(by_path)}
        assert names == {"CT_Liver, part 1", "CT_Liver, part 2"}
        assert sorted(at for name, at, _ in boxes_of(by_path) if name.endswith("1")) == [1, 2, 3, 4]


def test_an_array_lies_as_the_labels_would(model):
    array = pattern(SHAPE)
    by_xyz = model.segment(array, affine=AFFINE, rough=drawn() == 2, task="CT_Liver")
    stack = model.segment(array.T, spacing=[3.0, 2.0, 1.5], rough=(drawn() == 2).T, task="CT_Liver")
    assert np.array_equal(stack.labels.T, by_xyz.labels) and boxes_of(stack) == boxes_of(by_xyz)
    picture = pattern((19, 22), np.uint8)
    mask = drawn()[:, :, 1].T == 2
    found = model.segment(np.stack([picture] * 3, -1), rough=mask, task="CT_Liver")
    assert boxes_of(found) == [("CT_Liver", 0, [3, 4, 17, 14])]


def test_boxes_between_those_of_a_file(model):
    slices = {1: BOX[:2] + BOX[3:5], 4: BOX[:2] + BOX[3:5]}
    found = model.segment(pattern((24, 20, 6)), affine=AFFINE, boxes=slices, interpolate=True, task="CT_Liver")
    assert [at for _, at, _ in boxes_of(found)] == [1, 2, 3, 4]


def test_what_of_a_rough_mask_is_refused(model, files):
    array, mask = pattern(SHAPE), drawn()

    def refused(error, text, image=array, **asked):
        asked = {"task": "CT_Liver", "rough": mask, **({"affine": AFFINE} if image is array else {}), **asked}
        with pytest.raises(error, match=text):
            model.segment(image, **asked)

    refused(medsegx.FileError, "labels 2, 5")
    refused(medsegx.FileError, "label 3, as asked for", rough_label=3)
    refused(medsegx.FileError, "foreground", rough=np.zeros(SHAPE, bool))
    refused(ValueError, r"shape \(22, 19, 6\)", rough=mask[:, :, :5])
    refused(ValueError, "got both; needs one of them", boxes=BOX)
    refused(ValueError, "got neither; needs one of them", rough=None)
    refused(ValueError, "margin", rough=None, boxes=BOX, margin=2)
    refused(ValueError, "one of them", rough_label=2, rough_threshold=1.0)
    refused(TypeError, "masked", rough=np.ma.masked_array(mask, mask == 5))
    refused(TypeError, "a path or an image", image=files / "image.nii")
    refused(TypeError, "'tasc'", tasc="CT_Liver")
