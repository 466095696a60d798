"""Files and nibabel images give the bytes of the command line."""

import json
import os

import medsegx
import numpy as np
import pytest
from conftest import BOX, ORIENTATIONS, PHANTOM, PHANTOM_BOXES, boxes_file, dicom_series, pattern

nibabel = pytest.importorskip("nibabel")


def box_of(shape):
    return [0, 0, 0, *(n - 1 for n in shape)]


def test_the_phantom_is_that_of_the_command_line(model, cli, tmp_path):
    file = json.loads(PHANTOM_BOXES.read_text())
    for target in file["targets"]:
        middle = sorted(target["slices"], key=int)[len(target["slices"]) // 2 :][:2]
        target["slices"] = {slice_: target["slices"][slice_] for slice_ in middle}
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(file))
    code, _ = cli("segment", PHANTOM, "--boxes", boxes, "-o", tmp_path / "mask.nii", "--report", tmp_path / "r.json",
                  "--quiet", "--threads", 2)  # fmt: skip
    assert code == 0
    expected = np.asarray(nibabel.load(tmp_path / "mask.nii").dataobj)
    by_path = model.segment(PHANTOM, boxes=boxes)
    by_image = model.segment(nibabel.load(PHANTOM), boxes=file)
    assert len(np.unique(expected)) == 8
    for found in (by_path, by_image):
        assert found.labels.dtype == expected.dtype and found.labels.tobytes("F") == expected.tobytes("F")
        assert np.array_equal(found.affine, nibabel.load(PHANTOM).affine)
    report = json.loads((tmp_path / "r.json").read_text())
    assert by_path.report["targets"] == report["targets"]
    assert by_path.report["intensity"] == report["intensity"]
    assert by_path.report["warnings"] == report["warnings"]
    said = [(w["code"], w["target"]) for w in report["warnings"] if w["code"] != "cpu-fallback"]
    assert [(w.code, w.target) for w in by_path.warnings] == said
    assert sum(target.voxels for target in by_path.targets) == np.count_nonzero(expected)


# All 48, or so many of them: 5 has no divisor in common with 48, so that all orders and signs and kinds have their turn.
CHOSEN = [5 * turn % 48 for turn in range(int(os.environ.get("MEDSEGX_ORIENTATIONS", "12")))]


@pytest.mark.parametrize("number", range(0, len(CHOSEN), 4))
def test_the_orientation_matrix(model, cli, tmp_path, number):
    """Orders and signs of axes, oblique ones among them; stored types, byte orders and scales in turn."""
    kinds = [("<i2", 1.0, 0.0), ("<i2", 0.1, -1024.3), (">i2", 2.5, 7.0), ("<u1", 1.0, 0.0), ("<f4", 1.0, 0.0), ("<u2", 3.7, -5.1)]
    for index in CHOSEN[number : number + 4]:
        order, signs = ORIENTATIONS[index]
        dtype, slope, intercept = kinds[index % len(kinds)]
        values = pattern((22, 19, 5), np.float64, index)
        stored = (((values - values.min()) / np.ptp(values)) * 250).astype(dtype)
        affine = np.zeros((4, 4))
        for axis, (patient, sign) in enumerate(zip(order, signs)):
            affine[patient, axis] = sign * (1.0, 1.25, 2.5)[axis]
        if index % 3 == 0:
            turn = np.radians(9 + index)
            affine[:2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ affine[:2]
        affine[:, 3] = (-30.5, 12.25, 7.0, 1.0)
        header = nibabel.Nifti1Header(endianness=dtype[0])
        image = nibabel.Nifti1Image(stored, affine, header, dtype=np.dtype(dtype))
        image.header.set_slope_inter(slope, intercept)
        path = tmp_path / f"image{index}.nii"
        raw = image.to_bytes()
        path.write_bytes(raw)
        loaded = nibabel.load(path)
        assert (loaded.dataobj.slope, loaded.dataobj.inter) == pytest.approx((slope, intercept), rel=1e-6)
        for more, kwargs in ((("--axis", "i"), {"slice_axis": "x"}), ((), {}), (("--orient", "ras"), {"orient": "ras"})):
            # Two slices of 13, 12 or 2.
            box = [9, 3, 0, 10, 14, 4] if "--axis" in more else [4, 3, 2, 16, 14, 3]
            mask = tmp_path / f"mask{index}{len(more)}{more[:1]}.nii"
            code, said = cli("segment", path, "--box3d", ",".join(map(str, box)), "--task", "CT_Liver", "-o", mask, "--quiet",
                             "--threads", 2, *more)  # fmt: skip
            assert code == 0, said
            expected = np.asarray(nibabel.load(mask).dataobj)
            assert expected.any()
            for given in (path, loaded):
                found = model.segment(given, boxes=box, task="CT_Liver", **kwargs)
                assert found.labels.dtype == expected.dtype
                assert found.labels.tobytes("F") == expected.tobytes("F"), (index, more, type(given))


def test_numpy_and_png_files_have_numpys_axes(model, cli, tmp_path):
    stack = pattern((5, 19, 22), np.int16)
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(stack))
    code, said = cli("segment", tmp_path / "stack.npy", "--box3d", "4,3,2,16,14,3", "--task", "CT_Liver", "-o", tmp_path / "mask.npy")
    assert code == 0, said
    expected = np.load(tmp_path / "mask.npy")
    for name in ("stack.npy", "fortran.npy"):
        found = model.segment(str(tmp_path / name), boxes=[4, 3, 2, 16, 14, 3], task="CT_Liver")
        assert found.axes == "zyx" and found.affine is None and np.array_equal(found.labels, expected)


def test_pictures_have_the_command_lines_bytes(model, cli, tmp_path):
    grey = pattern((40, 50), np.float64)
    grey = ((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)
    for name, picture in (("grey", grey), ("colour", np.stack([grey, grey[::-1], 255 - grey], -1))):
        path = tmp_path / f"{name}.png"
        write_png(path, picture)
        code, said = cli("segment", path, "--box", "10,8,35,30", "--task", "CT_Liver", "-o", tmp_path / f"{name}.npy", "--quiet")
        assert code == 0, said
        expected = np.load(tmp_path / f"{name}.npy")
        assert expected.any()
        for given in (path, picture):
            found = model.segment(given, boxes=[10, 8, 0, 35, 30, 0], task="CT_Liver")
            assert found.axes == "yx" and np.array_equal(found.labels, expected), (name, type(given))


def write_png(path, picture):
    """A PNG of 8 bits, grey or RGB, without a filter."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = picture.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if picture.ndim == 2 else 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_a_dicom_folder(model, cli, tmp_path):
    pytest.importorskip("pydicom")
    folder = dicom_series(tmp_path / "series", pattern((4, 24, 20), np.int16))
    code, said = cli("segment", folder, "--box3d", "4,3,1,16,18,2", "--task", "CT_Liver", "-o", tmp_path / "mask.nii")
    assert code == 0, said
    found = model.segment(folder, boxes=[4, 3, 1, 16, 18, 2], task="CT_Liver")
    mask = nibabel.load(tmp_path / "mask.nii")
    assert found.axes == "xyz" and found.labels.any()
    assert found.labels.tobytes("F") == np.asarray(mask.dataobj).tobytes("F")
    assert np.allclose(found.affine, mask.affine)


def test_errors_have_the_command_lines_text_and_code(model, cli, tmp_path):
    np.save(tmp_path / "stack.npy", pattern((5, 19, 22), np.int16))
    stack, missing = tmp_path / "stack.npy", tmp_path / "missing.nii"
    bad = tmp_path / "bad.nii"
    bad.write_bytes(b"no image at all" * 40)
    outside = boxes_file(tmp_path / "outside.json", [{"name": "a", "label": 1, "box3d": [0, 0, 0, 99, 3, 3]}])
    inside = boxes_file(tmp_path / "inside.json", [{"name": "a", "label": 1, "box3d": [0, 0, 0, 9, 3, 3]}])
    cases = [
        (medsegx.IoError, (missing, inside, "CT_Liver"), {}),
        (medsegx.FileError, (bad, inside, "CT_Liver"), {}),
        (medsegx.PromptError, (stack, outside, "CT_Liver"), {}),
        (medsegx.TaxonomyError, (stack, inside, "CT_Livver"), {}),
        (medsegx.FileError, (stack, inside, "Liver"), {}),
        (medsegx.ArgumentError, (stack, inside, "CT_Liver"), {"volume": "last"}),
    ]
    for error, (image, boxes, task), more in cases:
        flags = [part for name, value in more.items() for part in (f"--{name}", value)]
        code, said = cli("segment", image, "--boxes", boxes, "--task", task, "-o", tmp_path / "mask.npy", "--quiet", *flags)
        with pytest.raises(error) as raised:
            model.segment(image, boxes=boxes, task=task, **more)
        assert isinstance(raised.value, medsegx.Error) and type(raised.value).__module__ == "medsegx._errors"
        assert f"medsegx: {raised.value}" in said and code == raised.value.code  # the usage may follow
    with pytest.raises(medsegx.FileError):
        medsegx.Model(bad)
    with pytest.raises(medsegx.ArgumentError) as raised:
        medsegx.Model(device="abacus")
    assert "auto, cpu, cuda" in str(raised.value)


def test_boxes_in_every_form(model, small, tmp_path):
    from conftest import AFFINE

    expected = model.segment(small, affine=AFFINE, boxes=BOX, task="CT_Liver")
    slices = {k: [5, 4, 18, 15] for k in range(2, 4)}
    table = np.zeros(1, [("name", "S42"), *((name, "i4") for name in ("x0", "y0", "z0", "x1", "y1", "z1"))])
    for name, value in zip(("x0", "y0", "z0", "x1", "y1", "z1"), BOX):
        table[name] = value
    target = {"name": "liver", "label": 1, "task": "CT_Liver", "box3d": BOX}
    (tmp_path / "boxes.csv").write_text("name,x0,y0,z0,x1,y1,z1\nliver," + ",".join(map(str, BOX)) + "\n")
    forms = [
        np.array(BOX), np.array([BOX], ">i8"), np.array(BOX, np.float32), [BOX], {"liver": BOX}, slices, {"liver": slices},
        {"box3d": BOX}, [target], {"targets": [target]}, table, boxes_file(tmp_path / "boxes.json", [target]),
        np.genfromtxt(tmp_path / "boxes.csv", delimiter=",", names=True, dtype=None, encoding="utf8"),
    ]  # fmt: skip
    for boxes in forms:
        found = model.segment(small, affine=AFFINE, boxes=boxes, task="CT_Liver")
        assert np.array_equal(found.labels, expected.labels), boxes
    two = model.segment(small, affine=AFFINE, boxes=[BOX, [1, 1, 0, 6, 6, 2]], task="CT_Liver")
    assert [target.label for target in two.targets] == [1, 2]
    for boxes in ([1, 2, 3], np.ma.masked_array(BOX, [0, 0, 0, 0, 0, 1]), [], "x", {"liver": [1, 2]}, [{"boxx": BOX}], None):
        with pytest.raises((TypeError, ValueError, medsegx.IoError)):
            model.segment(small, affine=AFFINE, boxes=boxes, task="CT_Liver")


def test_what_is_no_number_counts_as_nan_says(model, cli, tmp_path):
    array = np.random.default_rng(3).normal(size=(40, 32, 3)).astype(np.float32)
    array[5, 6, 1] = np.nan
    array[7, 8, 1] = np.inf
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "odd.nii")
    boxes = [[4, 4, 1, 30, 25, 1]]
    with pytest.raises(medsegx.FileError, match="NaN or infinite"):
        model.segment(tmp_path / "odd.nii", boxes=boxes, task="CT_Liver")
    code, told = cli("segment", tmp_path / "odd.nii", "--nan", -2.5, "--box3d", "4,4,1,30,25,1", "--task", "CT_Liver",
                     "-o", tmp_path / "mask.nii", "--quiet", "--threads", 2)  # fmt: skip
    assert code == 0, told
    found = model.segment(tmp_path / "odd.nii", boxes=boxes, task="CT_Liver", nan=-2.5)
    assert found.labels.any() and np.array_equal(found.labels, np.asarray(nibabel.load(tmp_path / "mask.nii").dataobj))
    with pytest.raises(ValueError, match="nan"):
        model.segment(array, spacing=(1, 1, 1), axes="xyz", boxes=boxes, task="CT_Liver", nan=0)
