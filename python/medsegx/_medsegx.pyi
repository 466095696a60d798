from os import PathLike
from typing import Any, final

import numpy.typing as npt

__all__ = [
    "Cancel",
    "Model",
    "Session",
    "VERSION",
    "close",
    "score",
    "segment",
    "tasks",
    "tune",
]

VERSION: str

_Affine = list[list[float]]
_Answer = tuple[npt.NDArray[Any], list[int], list[int] | None, _Affine | None, str]

@final
class Cancel:
    def __new__(cls) -> Cancel: ...
    def set(self) -> None: ...
    def is_set(self) -> bool: ...

@final
class Model:
    def __new__(
        cls,
        path: str | PathLike[str],
        tuned: str | PathLike[str] | None,
        device: str,
        threads: int | None,
        precision: str,
    ) -> Model: ...
    @property
    def device(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def fallback(self) -> str | None: ...

@final
class Session:
    def __new__(cls, model: Model, mask: str, points: int) -> Session: ...
    def set_slice(
        self,
        array: npt.NDArray[Any],
        layout: Any,
        levels: dict[str, Any],
        intensity: str | None,
        cancel: Cancel | None,
    ) -> tuple[list[int], list[tuple[str, str]]]: ...
    def prompt(
        self, region: list[float] | None, points: list[tuple[float, float, bool]], cancel: Cancel | None
    ) -> tuple[npt.NDArray[Any], int, list[float], float]: ...

def segment(
    model: Model,
    image: Any,
    boxes: str | bytes | None,
    levels: dict[str, Any],
    options: dict[str, Any],
    progress: Any,
    cancel: Cancel | None,
) -> _Answer: ...
def tasks(text: str) -> tuple[list[str], list[tuple[str, str, str, str, int | None]]]: ...
def score(
    mask: Any,
    reference: Any,
    spacing: list[float] | None,
    definition: str,
    tolerance: float,
    labels: list[int] | None,
    cancel: Cancel | None,
) -> str: ...
def tune(
    pairs: list[tuple[Any, Any]],
    plan: Any,
    levels: dict[str, Any],
    progress: Any,
    cancel: Cancel | None,
) -> str: ...
def close() -> None: ...
