"""Boxes in the forms that people have them in, as the text of a boxes file (docs/python.md says each form)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ._levels import NAMES as _LEVELS


def written(boxes: Any, name: str) -> str | bytes:
    """The path of a boxes file, or the text of one; `name` is that of a target that has none."""
    if isinstance(boxes, (str, os.PathLike)):
        return os.fspath(boxes)
    if isinstance(boxes, Mapping) and "targets" in boxes:
        return _text({"version": 1, "space": "voxel", "inclusive": True, **boxes})
    return _text({"version": 1, "space": "voxel", "inclusive": True, "targets": list(_targets(boxes, name))})


def _targets(boxes: Any, name: str) -> Iterable[dict[str, Any]]:
    if isinstance(boxes, Mapping):
        if _is_target(boxes):
            return [_target(boxes, name, 1)]
        if all(_is_whole(key) for key in boxes) and boxes:
            return [_target({"slices": boxes}, name, 1)]
        return [_named(key, value, label) for label, (key, value) in enumerate(boxes.items(), 1)]
    if isinstance(boxes, (list, tuple)) and boxes and all(isinstance(box, Mapping) for box in boxes):
        return [_target(box, name if len(boxes) == 1 else f"{name} {n}", n) for n, box in enumerate(boxes, 1)]
    rows = _rows(boxes)
    if len(rows) == 1:
        return [{"name": name, "label": 1, "box3d": rows[0]}]
    return [{"name": f"{name} {n}", "label": n, "box3d": row} for n, row in enumerate(rows, 1)]


def _is_target(boxes: Mapping[Any, Any]) -> bool:
    return "box3d" in boxes or "slices" in boxes


def _named(name: object, value: Any, label: int) -> dict[str, Any]:
    if isinstance(value, Mapping) and _is_target(value):
        return _target(value, str(name), label)
    if isinstance(value, Mapping):
        return _target({"slices": value}, str(name), label)
    return _target({"box3d": value}, str(name), label)


def _target(given: Mapping[str, Any], name: str, label: int) -> dict[str, Any]:
    target: dict[str, Any] = {"name": str(given.get("name", name)), "label": int(given.get("label", label))}
    for key, value in given.items():
        if key == "box3d":
            target[key] = _numbers(value, 6)
        elif key == "slices":
            target[key] = {str(int(slice_)): _numbers(box, 4) for slice_, box in value.items()}
        elif key in _LEVELS:
            if value is not None:
                target[key] = str(value)
        elif key not in ("name", "label"):
            raise ValueError(f"boxes: got {key!r}; needs name, label, box3d, slices, {', '.join(_LEVELS)}")
    return target


def _rows(boxes: Any) -> list[list[float]]:
    """Rows `x0, y0, z0, x1, y1, z1`, of columns of that name where there are such: DataFrame, structured array."""
    names = ("x0", "y0", "z0", "x1", "y1", "z1")
    if np.ma.isMaskedArray(boxes):
        raise TypeError("boxes: got a masked array; needs an array without a mask")
    dtype = getattr(boxes, "dtype", None)
    columns = getattr(dtype, "names", None) or getattr(boxes, "columns", None)
    if columns is not None and all(name in columns for name in names):
        table = np.stack([np.asarray(boxes[name], dtype=np.float64).reshape(-1) for name in names], axis=1)
    else:
        try:
            table = np.atleast_2d(np.array(boxes, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(f"boxes: got {type(boxes).__name__}; needs numbers, dicts or a path") from error
    if table.ndim != 2 or table.shape[1] != 6 or not len(table):
        found = f"shape {np.shape(boxes)}"
        raise ValueError(f"boxes: got {found}; needs rows of x0, y0, z0, x1, y1, z1 (inclusive voxel indices)")
    return [_numbers(row, 6) for row in table]


def _numbers(values: Any, count: int) -> list[float]:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"boxes: got {values!r}; needs {count} finite numbers")
    return [float(number) for number in numbers]


def _is_whole(key: object) -> bool:
    return isinstance(key, (int, np.integer)) and not isinstance(key, bool)


def _text(file: Mapping[str, Any]) -> bytes:
    return json.dumps(file).encode()
