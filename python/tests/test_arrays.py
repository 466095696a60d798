"""Every layout of an array gives what its contiguous copy gives, bit for bit."""

import medsegx
import numpy as np
import pytest
from conftest import AFFINE, BOX, pattern


def segment(model, array, **kwargs):
    kwargs.setdefault("affine", AFFINE)
    return model.segment(array, boxes=kwargs.pop("boxes", BOX), task="CT_Liver", **kwargs)


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert array.itemsize == 1 or not view.flags.aligned
    return view


def structured(array):
    rows = np.zeros(array.shape, np.dtype([("name", "S43"), ("value", array.dtype)]))
    rows["value"] = array
    assert array.itemsize == 1 or not rows["value"].flags.aligned
    return rows["value"]


def reversed_on(axis):
    flip = tuple(slice(None, None, -1 if a == axis else 1) for a in range(3))
    return lambda array: np.ascontiguousarray(array[flip])[flip]


def stepped(array):
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    wide[::2, ::2, ::2] = array
    return wide[::2, ::2, ::2]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def mapped(array, tmp_path):
    np.save(tmp_path / "array.npy", array)
    return np.load(tmp_path / "array.npy", mmap_mode="r")


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.transpose(1, 2, 0)).transpose(2, 0, 1),
    "reversed x": reversed_on(0),
    "reversed y": reversed_on(1),
    "reversed z": reversed_on(2),
    "stepped": stepped,
    "read-only": read_only,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "misaligned big-endian": lambda array: misaligned(array.astype(array.dtype.newbyteorder(">"))),
    "structured column": structured,
    "one component": lambda array: array[..., None],
}


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8])
def test_layouts_equal_the_contiguous_copy(model, small, dtype):
    array = (small - small.min()).astype(dtype) if dtype != np.uint8 else ((small - small.min()) // 8).astype(np.uint8)
    expected = segment(model, np.ascontiguousarray(array))
    assert expected.labels.any() and not expected.labels.all()
    for layout, laid in LAYOUTS.items():
        given = laid(array)
        found = segment(model, given)
        assert found.labels.shape == given.shape, layout
        assert np.array_equal(found.labels.reshape(array.shape), expected.labels), layout
        assert found.report["targets"] == expected.report["targets"], layout


def test_a_memory_map_is_read_where_it_lies(model, small, tmp_path):
    found = segment(model, mapped(small, tmp_path))
    assert np.array_equal(found.labels, segment(model, small).labels)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "?"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_types_are_taken_at_their_value(model, small, dtype, order):
    values = (small > 200) if dtype == "?" else ((small - small.min()) // 16).astype(dtype)
    found = segment(model, values.astype(np.dtype(dtype).newbyteorder(order)))
    assert np.array_equal(found.labels, segment(model, values.astype(np.float64)).labels)


def test_broadcast_arrays_are_taken(model):
    plane = pattern((24, 20), np.float32)
    array = np.broadcast_to(plane[:, :, None], (24, 20, 6))
    assert array.strides[2] == 0
    assert np.array_equal(segment(model, array).labels, segment(model, array.copy()).labels)


def test_no_copy_of_the_volume_is_made(model):
    import resource

    array = np.asfortranarray(np.tile(pattern((64, 64, 1)), (4, 4, 1024)))  # 128 MiB
    array[0, 0, 0] += 1
    segment(model, array[:, :, :8])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    labels = segment(model, array, boxes=[50, 50, 500, 200, 200, 501]).labels
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert labels.nbytes == 64 << 20
    assert grown * 1024 < labels.nbytes + array.nbytes // 2


@pytest.mark.parametrize(
    ("array", "error", "text"),
    [
        (np.ma.masked_array(np.ones((4, 4, 4)), np.eye(4, dtype=bool) & np.ones((4, 4, 4), bool)), TypeError, "mask"),
        (np.zeros((4, 4, 4), complex), TypeError, "dtype complex128"),
        (np.zeros((4, 4, 4), "M8[s]"), TypeError, "dtype datetime64[s]"),
        (np.zeros((4, 4, 4), object), TypeError, "dtype object"),
        (np.zeros((4, 4, 4), [("a", "f4")]), TypeError, "dtype"),
        (np.zeros((4, 0, 4)), medsegx.ArgumentError, "dims [4, 0, 4]"),
        (np.float32(3), ValueError, "got 0 axes"),
        # NumPy 1 has no more than 32 axes.
        *([(np.zeros((1,) * 33), ValueError, "33")] if np.__version__ >= "2" else []),
        (np.zeros((4, 4, 4, 2)), ValueError, "(4, 4, 4, 2)"),
        ([[1, 2], [3, 4]], TypeError, "list"),
        (np.full((4, 4, 4), np.nan), medsegx.FileError, "64 NaN or infinite, the first at voxel (0, 0, 0)"),
    ],
)
def test_what_is_refused_says_why(model, array, error, text):
    affine = None if isinstance(array, list) or array.ndim in (0, 33) else AFFINE
    with pytest.raises(error) as raised:
        model.segment(array, boxes=[0, 0, 0, 3, 3, 3], task="CT_Liver", affine=affine)
    assert text in str(raised.value)


def test_the_place_of_the_first_nan_is_told_for_any_layout(model, small):
    array = small.astype(np.float32)
    array[3, 5, 2] = np.nan
    array[4, 5, 2] = np.inf
    for layout in ("fortran", "transposed", "reversed z"):
        with pytest.raises(medsegx.FileError, match=r"2 NaN or infinite, the first at voxel \(3, 5, 2\)"):
            segment(model, LAYOUTS[layout](array))


def test_a_plain_array_says_where_it_lies(model, small):
    with pytest.raises(ValueError, match="affine= or spacing="):
        model.segment(small, boxes=BOX, task="CT_Liver")
    with pytest.raises(ValueError, match="one of them"):
        model.segment(small, boxes=BOX, task="CT_Liver", affine=AFFINE, spacing=[1, 1, 1])
    with pytest.raises(ValueError, match="numbers above 0"):
        model.segment(small, boxes=BOX, task="CT_Liver", spacing=[1, -1, 1])


def test_axes_are_those_of_the_input(model, small):
    by_affine = segment(model, small)
    assert by_affine.axes == "xyz"
    stack = np.ascontiguousarray(small.T)
    by_spacing = segment(model, stack, affine=None, spacing=[3.0, 2.0, 1.5])
    assert by_spacing.axes == "zyx" and by_spacing.labels.shape == stack.shape
    assert np.array_equal(by_spacing.labels.T, by_affine.labels)
    assert np.array_equal(by_spacing.affine, AFFINE)
    named = segment(model, small.transpose(1, 0, 2), affine=None, spacing=[2.0, 1.5, 3.0], axes="yxz")
    assert np.array_equal(named.labels.transpose(1, 0, 2), by_affine.labels)


def test_a_picture_needs_no_place(model):
    picture = pattern((40, 50), np.uint8)
    grey = model.segment(picture, boxes=[10, 8, 0, 35, 30, 0], task="CT_Liver")
    colour = model.segment(np.stack([picture] * 3, -1), boxes=[10, 8, 0, 35, 30, 0], task="CT_Liver")
    assert grey.labels.shape == (40, 50) and grey.axes == "yx" and grey.affine is None
    assert grey.labels.any() and np.array_equal(grey.labels, colour.labels)
    assert not grey.labels[:8].any() or grey.labels[8:31, 10:36].sum() > grey.labels[:8].sum()
