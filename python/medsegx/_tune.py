"""Tuning on a few labelled slices."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

from . import _medsegx
from ._image import is_path
from ._levels import Levels, checked
from ._medsegx import Cancel
from ._model import DEMO, Progress, axis_of
from ._tools import native


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning.

    Dice is the mean over what was held out (`validation`: slices, volumes, leave-one-out, or none: then over the slices that
    were tuned on): `choice` of the masks that the engine chooses, `best` of the best of three, `ellipse` of the ellipse in
    the box.
    """

    path: Path | None
    """The tuned file; None where validation did not improve and nothing was written."""
    before: dict[str, float]
    after: dict[str, float]
    validation: str
    steps: int
    """Steps behind what was kept."""
    losses: tuple[float, float]
    """Of the first and the last step."""
    slices: int
    skipped: list[tuple[int, int]]
    """Image and slice of labels that are lost at the model's size."""


@dataclass
class _Plan:
    weights: str
    output: str
    force: bool
    label: int
    train: str
    memory: int | None
    slices: str
    steps: int
    rate: float
    step_slices: int
    jitter: int
    seed: int
    validate: float
    intensity: str | None
    real_world: str | None
    axis: int
    orient: str
    device: str
    threads: int | None


def tune(
    images: Any,
    labels: Any,
    output: str | os.PathLike[str],
    *,
    label: int,
    path: str | os.PathLike[str] | None = None,
    train: Literal["decoder", "adapters", "all"] = "decoder",
    memory: int | None = None,
    slices: str | Sequence[int] = "all",
    steps: int = 50,
    rate: float = 5e-5,
    step_slices: int = 4,
    jitter: int = 0,
    seed: int = 2025,
    validate: float | str = "auto",
    slice_axis: str = "z",
    orient: str = "stored",
    intensity: str | None = None,
    real_world: str | bool | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **levels: Unpack[Levels],
) -> Tuned:
    """Tunes the weights at `path` (None: the demo weights) and writes a file for `Model(tuned=...)`.

    Args:
        images, labels: one or a list of each: paths, or images of other packages. Labels lie on their image's grid.
        output: the tuned file, ending in .safetensors; written only where validation improves.
        label: the value in the labels to tune for; `task` and the following say what it is.
        train: the mask "decoder", the encoder's "adapters" or "all"; the latter two run the encoder in every step, on the CPU.
        memory: most bytes of a step of these two above the loaded model (None: half of what is free); same bytes either way.
        slices: "all" that have the label, "every:N", or a list of slices.
        steps, rate, step_slices, jitter, seed, validate: as the command line's flags (docs/tune.md).
        slice_axis, orient, intensity: as for `Model.segment`; a model that is used otherwise says tuned-otherwise.
        real_world: as for `Model.segment`: real world values of DICOM images, which are paths.

    Raises:
        medsegx.Error: its subclasses say which kind of failure it is.
    """
    pairs = list(zip(_listed(images), _listed(labels), strict=True))
    plan = _Plan(
        weights=os.fspath(DEMO if path is None else path),
        output=os.fspath(output),
        force=force,
        label=int(label),
        train=train,
        memory=None if memory is None else int(memory),
        slices=slices if isinstance(slices, str) else ",".join(str(int(slice_)) for slice_ in slices),
        steps=int(steps),
        rate=float(rate),
        step_slices=int(step_slices),
        jitter=int(jitter),
        seed=int(seed),
        validate=_share(validate),
        intensity=intensity,
        real_world="" if real_world is True else real_world or None,
        axis=axis_of(slice_axis),
        orient=orient,
        device=device,
        threads=threads,
    )
    place = checked(levels)
    if plan.real_world is not None and not all(is_path(image) for image, _ in pairs):
        raise ValueError(f"real_world: got {real_world!r}; needs none for an image that is no path")
    natives = [(native(image), native(labels)) for image, labels in pairs]
    found = json.loads(_medsegx.tune(natives, plan, place, progress, cancel))
    return Tuned(
        path=Path(plan.output) if found["written"] else None,
        before=found["before"],
        after=found["after"],
        validation=found["validation"],
        steps=found["steps"],
        losses=tuple(found["losses"]),
        slices=found["slices"],
        skipped=[(image, slice_) for image, slice_ in found["skipped"]],
    )


def _listed(images: Any) -> list[Any]:
    return list(images) if isinstance(images, (list, tuple)) else [images]


def _share(validate: float | str) -> float:
    if validate == "auto":
        return 0.0
    if validate == "none":
        return -1.0
    share = float(validate)
    if not 0 < share < 1:
        raise ValueError(f"validate: got {validate!r}; needs 'auto', 'none' or a number between 0 and 1")
    return share
