"""Every way in which a call fails: the engine's text, and the exit code that the command line ends with."""

from __future__ import annotations


class Error(Exception):
    """What all errors of the engine are. `code` is the exit code of the command line for the same failure."""

    code: int = 1


class IoError(Error, OSError):
    """The operating system refused to open, read, write or rename a file."""


class FileError(Error, ValueError):
    """The contents of a file or an array are malformed, unsupported or hostile."""


class WeightsError(Error, ValueError):
    """A weights file does not hold a complete model."""


class TensorError(Error, ValueError):
    """A tensor of a weights file has an impossible value, shape or type."""


class PromptError(Error, ValueError):
    """A box or point makes no sense for this image or model."""


class TaxonomyError(Error, LookupError):
    """A modality, organ or task that MedSegDB's tree does not have."""

    code = 2


class ArgumentError(Error, ValueError):
    """An argument is out of range or contradicts another."""

    code = 2


class OutOfMemoryError(Error, MemoryError):
    """Memory for a size that a file or caller asked for could not be had."""


class DeviceError(Error, RuntimeError):
    """A device is missing, too old, out of memory or broken."""


class DeviceLostError(DeviceError):
    """Every later call on the device will fail in this process."""


class CancelledError(Error):
    """The caller asked to stop, by a Cancel."""

    code = 130


class InternalError(Error, RuntimeError):
    """A defect of medsegx, not of its input."""
