"""Images of other packages: the voxels and the place that the package says they have.

MONAI and TorchIO need torch, which is large: where it is not installed, classes with the same names and attributes stand in
for theirs, and the tests with the real ones are skipped by name.
"""

import importlib
import os
import sys
import types

import numpy as np
import pytest
from conftest import ORIENTATIONS, pattern

SHAPE = (22, 19, 5)
AFFINE = np.diag([1.0, 1.25, 2.5, 1.0])
BOX = [4, 3, 2, 16, 14, 3]


def test_simple_itk_images_have_the_same_voxels(model, tmp_path):
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    for index, (order, signs) in enumerate(ORIENTATIONS[::7]):
        affine = np.zeros((4, 4))
        for axis, (patient, sign) in enumerate(zip(order, signs)):
            affine[patient, axis] = sign * (1.0, 1.25, 2.5)[axis]
        affine[:, 3] = (-30.5, 12.25, 7.0, 1.0)
        path = tmp_path / f"image{index}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(pattern((22, 19, 5), np.int16, index), affine), path)
        image = sitk.ReadImage(str(path))
        by_path = model.segment(path, boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
        found = model.segment(image, boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
        assert found.axes == "zyx" and found.labels.shape == sitk.GetArrayViewFromImage(image).shape
        assert np.array_equal(found.labels.transpose(2, 1, 0), by_path.labels)
        assert np.allclose(found.affine, by_path.affine, rtol=0, atol=1e-6)
        made = sitk.GetImageFromArray(found.labels)
        made.CopyInformation(image)
        assert made.GetSize() == image.GetSize()


def test_simple_itk_label_maps_are_refused_before_they_end_the_process(model):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.Cast(sitk.Image(8, 8, 3, sitk.sitkUInt8), sitk.sitkLabelUInt8)
    with pytest.raises(TypeError, match="label"):
        model.segment(image, boxes=[0, 0, 0, 3, 3, 2], task="CT_Liver")


def test_itk_images(model):
    itk = pytest.importorskip("itk")
    array = pattern((5, 19, 22), np.int16)
    image = itk.image_from_array(array)
    image.SetSpacing([1.0, 1.25, 2.5])
    found = model.segment(image, boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
    plain = model.segment(array, spacing=[2.5, 1.25, 1.0], boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
    assert np.array_equal(found.labels, plain.labels) and found.labels.shape == array.shape


class Tensor:
    """As much of a torch tensor as is looked at."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array

    def detach(self):
        return self

    cpu = as_tensor = detach


def stand_in(monkeypatch, module, name, base=object, **attributes):
    """An image of a class `name` of `module`, which is made up."""
    made = types.ModuleType(module)
    kind = type(name, (base,), {"__module__": module})
    setattr(made, name, kind)
    monkeypatch.setitem(sys.modules, module, made)
    image = kind.__new__(kind)
    image.__dict__.update(attributes)
    return image


def meta_tensor(monkeypatch, array, affine=AFFINE, space="RAS", pending=()):
    return stand_in(monkeypatch, "monai.data.meta_tensor", "MetaTensor", Tensor, array=array, affine=Tensor(affine),
                    meta={"space": space}, pending_operations=list(pending))  # fmt: skip


def check(model, image, array, labels_shape):
    plain = model.segment(array, affine=AFFINE, boxes=BOX, task="CT_Liver")
    found = model.segment(image, boxes=BOX, task="CT_Liver")
    assert plain.labels.any() and not plain.labels.all()
    assert found.labels.shape == labels_shape and np.array_equal(found.labels.reshape(array.shape), plain.labels)
    assert np.array_equal(found.affine, AFFINE)


def test_meta_tensors_by_a_stand_in(model, monkeypatch):
    array = pattern(SHAPE, np.float32)
    check(model, meta_tensor(monkeypatch, array[None]), array, (1, *SHAPE))
    check(model, meta_tensor(monkeypatch, array), array, SHAPE)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    check(model, meta_tensor(monkeypatch, array[None], lps, "LPS"), array, (1, *SHAPE))
    with pytest.raises(ValueError, match="pending"):
        model.segment(meta_tensor(monkeypatch, array[None], pending=["Spacing"]), boxes=BOX, task="CT_Liver")
    with pytest.raises(ValueError, match="one channel"):
        model.segment(meta_tensor(monkeypatch, np.stack([array] * 2)), boxes=BOX, task="CT_Liver")
    with pytest.raises(ValueError, match="has its own"):
        model.segment(meta_tensor(monkeypatch, array[None]), affine=AFFINE, boxes=BOX, task="CT_Liver")


def test_torchio_images_by_a_stand_in(model, monkeypatch):
    array = pattern(SHAPE, np.float32)
    image = stand_in(monkeypatch, "torchio", "Image", data=Tensor(array[None]), affine=AFFINE)
    check(model, image, array, (1, *SHAPE))


def needs(module):
    """A module that comes with PyTorch; without it the test is skipped, unless MEDSEGX_REQUIRE has torch."""
    if "torch" in os.environ.get("MEDSEGX_REQUIRE", "").split(","):
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"SKIPPED the real {module}: it is not installed; a stand-in was tested")


def test_the_real_meta_tensors(model):
    MetaTensor, torch = needs("monai.data").MetaTensor, needs("torch")
    array = pattern(SHAPE, np.float32)
    check(model, MetaTensor(torch.from_numpy(array)[None], AFFINE), array, (1, *SHAPE))
    check(model, MetaTensor(torch.from_numpy(array)[None], AFFINE).requires_grad_(), array, (1, *SHAPE))
    turned = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).permute(1, 2, 0)
    check(model, MetaTensor(turned, AFFINE), array, SHAPE)
    lps = MetaTensor(torch.from_numpy(array)[None], np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE, meta={"space": "LPS"})
    check(model, lps, array, (1, *SHAPE))
    pending = MetaTensor(torch.from_numpy(array)[None], AFFINE)
    pending.push_pending_operation({"lazy_affine": torch.eye(4), "lazy_shape": SHAPE})
    with pytest.raises(ValueError, match="pending"):
        model.segment(pending, boxes=BOX, task="CT_Liver")
    with pytest.raises(ValueError, match="one channel"):
        model.segment(MetaTensor(torch.from_numpy(np.stack([array] * 2)), AFFINE), boxes=BOX, task="CT_Liver")


def test_the_real_torchio_images(model):
    torchio = needs("torchio")
    array = pattern(SHAPE, np.float32)
    check(model, torchio.ScalarImage(tensor=array[None], affine=AFFINE), array, (1, *SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:17, 3:15, 2:4] = 1
    rough = torchio.LabelMap(tensor=mask[None], affine=AFFINE)
    image = torchio.ScalarImage(tensor=array[None], affine=AFFINE)
    by_mask = model.segment(image, rough=rough, task="CT_Liver")
    assert np.array_equal(by_mask.labels, model.segment(image, boxes=BOX, task="CT_Liver").labels)
    with pytest.raises(ValueError, match="one channel"):
        model.segment(torchio.ScalarImage(tensor=np.stack([array] * 2), affine=AFFINE), boxes=BOX, task="CT_Liver")


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)], ids=["RAS", "LPS", "LAI"])
def test_files_that_monai_and_torchio_read(model, tmp_path, signs):
    """As they load a file, the labels are those of the file itself."""
    nibabel = pytest.importorskip("nibabel")
    transforms, torchio = needs("monai.transforms"), needs("torchio")
    affine = np.diag([*(sign * step for sign, step in zip(signs, (1.0, 1.25, 2.5))), 1.0])
    affine[:3, 3] = (-30.5, 12.25, 7.0)
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pattern(SHAPE, np.int16), affine), path)
    by_path = model.segment(path, boxes=BOX, task="CT_Liver")
    assert by_path.labels.any() and not by_path.labels.all()
    loaded = transforms.LoadImage(image_only=True)(path)
    for image in (loaded, transforms.EnsureChannelFirst()(loaded), torchio.ScalarImage(path)):
        found = model.segment(image, boxes=BOX, task="CT_Liver")
        assert np.array_equal(found.labels.reshape(SHAPE), by_path.labels), type(image)
        assert np.allclose(found.affine, by_path.affine, rtol=0, atol=1e-6)
    # What MONAI turns to RAS, affine and all, is the same image: one box of it covers the same voxels.
    turned = transforms.Orientation(axcodes="RAS", labels=None)(transforms.EnsureChannelFirst()(loaded))
    lows = [low if sign > 0 else n - 1 - high for low, high, sign, n in zip(BOX[:3], BOX[3:], signs, SHAPE)]
    highs = [high if sign > 0 else n - 1 - low for low, high, sign, n in zip(BOX[:3], BOX[3:], signs, SHAPE)]
    found = model.segment(turned, boxes=[*lows, *highs], task="CT_Liver")
    upright = nibabel.as_closest_canonical(nibabel.load(path))
    expected = model.segment(upright, boxes=[*lows, *highs], task="CT_Liver")
    assert np.array_equal(found.labels[0], expected.labels) and np.allclose(found.affine, expected.affine)
