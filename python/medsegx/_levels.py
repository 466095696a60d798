"""A place in MedSegDB's tree, as the keywords of a call."""

from __future__ import annotations

import sys
from typing import Any, TypedDict


class Levels(TypedDict, total=False):
    """A place in MedSegDB's tree (`medsegx.tasks`): a task as "CT_Liver", or a modality and the organ's place."""

    task: str | None
    modality: str | None
    body_part: str | None
    subregion: str | None
    organ: str | None
    target: str | None


NAMES = tuple(Levels.__annotations__)


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def checked(levels: Levels) -> dict[str, Any]:
    """The levels that are given, of the keywords of the public function that calls this."""
    if wrong := [name for name in levels if name not in NAMES]:
        function = sys._getframe(1).f_code.co_name
        raise TypeError(f"{function}() got an unexpected keyword argument {wrong[0]!r}")
    return given(**levels)


def name_of(levels: dict[str, Any]) -> str:
    """What a target without a name is called."""
    return next((str(levels[level]) for level in ("task", "target", "organ") if level in levels), "target")
