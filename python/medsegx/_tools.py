"""What needs no model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _image, _medsegx
from ._medsegx import Cancel

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Task:
    """A target of MedSegDB's tree; with a modality before it, it is a task: CT_Liver."""

    target: str
    body_part: str
    subregion: str
    organ: str
    row: int | None
    """Row of the task embedding; None for a target that the published list leaves out."""


def tasks(text: str = "") -> list[Task]:
    """The targets with `text` in their name or above it; all without one."""
    return [Task(*task) for task in _medsegx.tasks(text)[1]]


def modalities() -> list[str]:
    """The modalities: CT, MRI, ..."""
    return list(_medsegx.tasks("")[0])


@dataclass(frozen=True)
class LabelScore:
    """One label. Distances and their shares are None where it is missing on a side."""

    label: int
    dice: float | None
    hd95: float | None
    nsd: float | None
    voxels: dict[str, int]
    """In the mask, the reference and both."""
    missing: str | None
    """missed, spurious or absent."""


@dataclass(frozen=True)
class Score:
    """Scores of all labels, and what they come to (dice, nsd, hd95_of_found, hd95_with_diagonal, missed, spurious)."""

    labels: list[LabelScore]
    summary: dict[str, Any]
    spacing: tuple[float, float, float]
    """Along x, y, z."""
    unit: str
    """mm, or voxels where neither mask says how far voxels are apart."""
    definition: str


def score(
    mask: Any,
    reference: Any,
    *,
    spacing: npt.ArrayLike | None = None,
    affine: npt.ArrayLike | None = None,
    definition: str = "monai",
    tolerance: float = 2.0,
    labels: Sequence[int] | None = None,
    cancel: Cancel | None = None,
) -> Score:
    """Scores a mask against a reference on the same grid, label by label.

    Masks are all that `Model.segment` takes for an image. `spacing` (in the order of the axes) or `affine` is for plain
    arrays; `definition` is monai, medpy, metrics-reloaded or surface-distance, `tolerance` that of NSD in mm.
    """
    pair = [native(one, spacing, affine) for one in (mask, reference)]
    chosen = None if labels is None else [int(label) for label in labels]
    found = json.loads(_medsegx.score(pair[0], pair[1], None, definition, float(tolerance), chosen, cancel))
    return Score(
        labels=[LabelScore(**label) for label in found["labels"]],
        summary=found["summary"],
        spacing=tuple(found["spacing"]),
        unit=found["unit"],
        definition=found["definition"],
    )


def native(image: Any, spacing: Any = None, affine: Any = None) -> Any:
    """A path, or an array and how it lies. `spacing` and `affine` are for those that do not say it themselves."""
    if _image.is_path(image):
        return os.fspath(image)
    found = _image.recognised(image) or _image.recognise(image, spacing, affine)
    return found.array, found.layout
