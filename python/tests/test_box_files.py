"""Boxes in files that people have: a CSV of pandas or NumPy, markups of 3D Slicer, an .npz of MedSAM's challenges; rows and
the command line's mask for each."""

import json

import medsegx
import numpy as np
import pytest
from conftest import BOX, pattern

COLUMNS = ("x0", "y0", "z0", "x1", "y1", "z1")


@pytest.fixture(scope="module")
def case(model, small, tmp_path_factory):
    """An image with a place in the patient, as a file, and the labels of BOX in it."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[-1.5, 0, 0, 40], [0, -2.0, 0, 31], [0, 0, 3.0, -7], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("case") / "image.nii"
    nibabel.save(nibabel.Nifti1Image(small, affine), path)
    expected = model.segment(path, boxes=BOX, task="CT_Liver")
    assert expected.labels.any() and not expected.labels.all()
    return path, affine, expected


def command_lines(cli, path, boxes, folder):
    nibabel = pytest.importorskip("nibabel")
    mask = folder / "mask.nii"
    code, said = cli("segment", path, "--boxes", boxes, "--task", "CT_Liver", "-o", mask, "--quiet", "--threads", 2)
    assert code == 0, said
    return np.asarray(nibabel.load(mask).dataobj)


def markups(affine):
    """A region of interest as 3D Slicer writes it, around the voxels of BOX: millimetres in LPS, to the voxels' outer faces."""
    low, high = np.array(BOX[:3]) - 0.5, np.array(BOX[3:]) + 0.5
    corners = np.array([affine[:3, :3] @ corner + affine[:3, 3] for corner in (low, high)]) * (-1, -1, 1)
    middle, size = corners.mean(axis=0), np.abs(corners[1] - corners[0])
    roi = {
        "type": "ROI", "name": "liver", "coordinateSystem": "LPS", "coordinateUnits": "mm", "roiType": "Box",
        "center": middle.tolist(), "orientation": np.eye(3).ravel().tolist(), "size": size.tolist(), "insideOut": False,
        "controlPoints": [{"id": "1", "label": "R-1", "position": middle.tolist(), "positionStatus": "defined"}],
    }  # fmt: skip
    return json.dumps({"markups": [roi]})


def test_markups_of_slicer(model, cli, case, tmp_path):
    path, affine, expected = case
    boxes = tmp_path / "liver.mrk.json"
    boxes.write_text(markups(affine))
    found = model.segment(path, boxes=boxes, task="CT_Liver")
    assert [target.name for target in found.targets] == ["liver"]
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.labels, command_lines(cli, path, boxes, tmp_path))


def test_an_npz_of_boxes_beside_an_image(model, cli, case, tmp_path):
    path, _, expected = case
    boxes = tmp_path / "boxes.npz"
    np.savez(boxes, boxes=np.array([BOX, [1, 1, 0, 6, 6, 2]]))
    found = model.segment(path, boxes=boxes, task="CT_Liver")
    assert [target.label for target in found.targets] == [1, 2]
    assert (found.labels == 2).any() and not np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.labels, command_lines(cli, path, boxes, tmp_path))


def test_an_npz_that_holds_image_and_boxes(model, tmp_path):
    voxels = pattern((5, 19, 22), np.int16)
    voxels = ((voxels - voxels.min()) // 8).astype(np.uint8)
    path = tmp_path / "case.npz"
    np.savez_compressed(path, imgs=voxels, spacing=np.array([1.0, 1.25, 2.5]), boxes=np.array([[4, 3, 2, 16, 14, 3]]))
    found = model.segment(path, boxes=path, task="CT_Liver")
    plain = model.segment(voxels, spacing=[2.5, 1.25, 1.0], boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
    assert found.axes == "zyx" and found.labels.shape == voxels.shape
    assert found.labels.any() and np.array_equal(found.labels, plain.labels)


def test_columns_of_a_csv(model, case, tmp_path):
    path, _, expected = case
    rows = [BOX, [1, 1, 0, 6, 6, 2]]
    text = "name,note," + ",".join(COLUMNS) + "\n"
    text += "".join(f"organ {n},drawn by hand," + ",".join(map(str, row)) + "\n" for n, row in enumerate(rows))
    (tmp_path / "boxes.csv").write_text(text)
    table = np.genfromtxt(tmp_path / "boxes.csv", delimiter=",", names=True, dtype=None, encoding="utf8")
    by_rows = model.segment(path, boxes=rows, task="CT_Liver")
    assert not np.array_equal(by_rows.labels, expected.labels)

    class Frame:
        """Of a DataFrame what is read of it: names of columns, and a column by its name."""

        columns = table.dtype.names

        def __getitem__(self, name):
            return np.ascontiguousarray(table[name])

    for boxes in (table, table[:2].copy(), Frame()):
        found = model.segment(path, boxes=boxes, task="CT_Liver")
        assert np.array_equal(found.labels, by_rows.labels)
    with pytest.raises(ValueError, match="x0, y0, z0, x1, y1, z1"):
        model.segment(path, boxes=np.zeros((2, 5)), task="CT_Liver")
    with pytest.raises(medsegx.PromptError):
        model.segment(path, boxes=[0, 0, 0, 99, 3, 3], task="CT_Liver")
