"""What a run comes to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Warning:
    """What looks wrong although the run went on. `code` is stable (docs/codes.md); `target` is None for the image's own."""

    code: str
    message: str
    target: str | None = None

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" if self.target is None else f"{self.target}: {self.message} [{self.code}]"


@dataclass(frozen=True)
class Target:
    """One target: its label, its voxels in the labels, and slice by slice what is known of its masks."""

    name: str
    label: int
    voxels: int
    covered: int
    """Voxels of its masks that later targets have."""
    volume_mm3: float | None
    """None where the image has no voxel size."""
    context: dict[str, str] | None
    slices: list[dict[str, Any]]
    """slice, box, mask, scores, agreement, continuity, pixels, doubtful: as in a report of the command line."""


@dataclass(frozen=True)
class Result:
    """Labels on the image's own grid.

    `labels` has the axes of the input (uint8, or uint16 for labels above 255; 0 is background): those of the array, of
    nibabel's `dataobj` for a file with a place in the patient, of NumPy for .npy, .npz and .png. `axes` names them, `affine` takes
    voxel indices i, j, k = x, y, z to millimetres in RAS+, None for pictures and plain .npy files.
    """

    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    axes: str
    affine: npt.NDArray[np.float64] | None
    targets: list[Target]
    warnings: list[Warning]
    report: dict[str, Any]
    """As the command line's --report, without hashes and the times of loading."""

    def __repr__(self) -> str:
        found = ", ".join(f"{target.name} {target.voxels}" for target in self.targets)
        return f"<medsegx.Result of shape {self.labels.shape}, voxels: {found}; {len(self.warnings)} warnings>"


def result(labels: npt.NDArray[Any], axes: str, affine: Any, text: str) -> Result:
    report: dict[str, Any] = json.loads(text)
    targets = [
        Target(
            name=target["name"],
            label=target["label"],
            voxels=target["voxels"],
            covered=target["covered"],
            volume_mm3=target["volume_mm3"],
            context=target["context"],
            slices=target["slices"],
        )
        for target in report["targets"]
    ]
    # Of a machine without a GPU the report and `Model.fallback` tell, as the command line does.
    told = [entry for entry in report["warnings"] if entry["code"] != "cpu-fallback"]
    warnings = [Warning(entry["code"], entry["message"], entry["target"]) for entry in told]
    matrix = None if affine is None else np.array(affine, dtype=np.float64)
    return Result(labels, axes, matrix, targets, warnings, report)


@dataclass(frozen=True)
class Prompted:
    """The answer to a prompt on a session's slice."""

    mask: npt.NDArray[np.bool_]
    """[height, width]."""
    chosen: int
    """Which mask it is: 0 the single one, 1 to 3 the candidates."""
    scores: list[float]
    """Of all masks, by the rule that chose."""
    agreement: float
    """Mean Dice among the masks."""
