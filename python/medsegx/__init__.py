"""medsegx: a volume, a box and the name of what to look for in; a mask out. Research software, not a medical device."""

from ._errors import (
    ArgumentError,
    CancelledError,
    DeviceError,
    DeviceLostError,
    Error,
    FileError,
    InternalError,
    IoError,
    OutOfMemoryError,
    PromptError,
    TaxonomyError,
    TensorError,
    WeightsError,
)
from ._medsegx import VERSION as __version__
from ._medsegx import Cancel
from ._model import Model, Session
from ._result import Prompted, Result, Target, Warning
from ._tools import LabelScore, Score, Task, modalities, score, tasks
from ._tune import Tuned, tune

__all__ = [
    "ArgumentError",
    "Cancel",
    "CancelledError",
    "DeviceError",
    "DeviceLostError",
    "Error",
    "FileError",
    "InternalError",
    "IoError",
    "LabelScore",
    "Model",
    "OutOfMemoryError",
    "Prompted",
    "PromptError",
    "Result",
    "Score",
    "Session",
    "Target",
    "Task",
    "TaxonomyError",
    "TensorError",
    "Tuned",
    "Warning",
    "WeightsError",
    "__version__",
    "modalities",
    "score",
    "tasks",
    "tune",
]
