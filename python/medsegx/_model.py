"""The model, its sessions, and the forms that a call can have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np

from . import _boxes, _image, _medsegx
from ._levels import Levels, checked, given, name_of
from ._medsegx import Cancel
from ._result import Prompted, Result, Warning, result

if TYPE_CHECKING:
    import numpy.typing as npt

T = TypeVar("T")
Progress = Callable[[int, int], object]

DEMO = Path(__file__).parent / "weights" / "demo.safetensors"

# A coroutine that is cancelled, and a cell of a notebook that is interrupted, are woken within this time.
_STEP = 0.02


class Model:
    """A loaded model. Threads may share it; spawned processes get it by its path.

    Args:
        path: weights file (safetensors); None for the demo weights, which are for trying things out.
        tuned: file of `medsegx.tune` or `medsegx tune`, on top of the weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: threads of the CPU; None for all.
        precision: "f32", or "bf16" where the processor multiplies it.

    Raises:
        IoError, FileError, WeightsError, TensorError: a file is not there, or not a model.
        ArgumentError: a device, number of threads or precision that there is not.
        DeviceError: a device that is missing or out of memory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        tuned: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "f32",
    ) -> None:
        self._made = (path, tuned, device, threads, precision)
        self._native = _medsegx.Model(DEMO if path is None else path, tuned, device, threads, precision)

    def __reduce__(self) -> tuple[type[Model], tuple[Any, ...]]:
        return type(self), self._made

    def __repr__(self) -> str:
        return f"<medsegx.Model {self.path.name} ({self.kind}) on {self.device}>"

    @property
    def path(self) -> Path:
        """The weights file."""
        return Path(DEMO if self._made[0] is None else self._made[0])

    @property
    def device(self) -> str:
        """What it runs on."""
        return self._native.device

    @property
    def kind(self) -> str:
        """"medsegx", "sam", "medsam" or "litemedsam"."""
        return self._native.kind

    @property
    def fallback(self) -> str | None:
        """Why device="auto" did not take a GPU, if it did not."""
        return self._native.fallback

    def segment(
        self,
        image: Any,
        *,
        boxes: Any = None,
        rough: Any = None,
        rough_label: int | Sequence[int] | None = None,
        rough_threshold: float | None = None,
        rough_parts: bool = False,
        margin: int | None = None,
        interpolate: bool = False,
        spacing: npt.ArrayLike | None = None,
        affine: npt.ArrayLike | None = None,
        axes: str | None = None,
        slice_axis: str = "z",
        orient: str = "stored",
        intensity: str | None = None,
        mask: int | str = "auto",
        volume: int | str | None = None,
        series: str | None = None,
        real_world: str | bool | None = None,
        form: str | None = None,
        nan: float | None = None,
        batch: int | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        **levels: Unpack[Levels],
    ) -> Result:
        """Segments an image: boxes or a rough mask and the name of what to look for in, labels on the image's own grid out.

        Args:
            image: a path (NIfTI, NRRD, MetaImage, .npy, .png, a DICOM file, folder or zip archive); an image of nibabel,
                SimpleITK, itk, MONAI (MetaTensor) or TorchIO; or an array with `affine=` (axes x, y, z) or `spacing=`
                (axes z, y, x unless `axes` says otherwise); of two axes, or three with colour last, it is a picture.
                Nobody may write into an array during the call.
            boxes: rows x0, y0, z0, x1, y1, z1 of inclusive voxel indices; a dict of names and such rows, or of slices and
                x0, y0, x1, y1; target dicts as in a boxes file; or the path of one.
            rough: a mask, instead of boxes: a box a slice around it. A path or an image, brought to the image's grid by its
                header; or an array of the shape of the labels, beside an image that is no path.
            rough_label: labels of the mask that are inside, where it has several.
            rough_threshold: values of the mask above it are inside.
            rough_parts: a box for each separate part of a slice, not one around all of them.
            margin: voxels added on every side of the mask.
            interpolate: boxes on the slices between those that have one too.
            spacing: millimetres between voxels, in the order of the array's axes.
            affine: voxel indices to millimetres in RAS+.
            axes: which of x, y, z the array's axes are, as "zyx".
            slice_axis: the axis that slices lie across: "x", "y" or "z".
            orient: "stored", or "ras" to show slices to the network in Right-Anterior-Superior order.
            intensity: minmax, robust, percentile, window:LEVEL,WIDTH, soft, lung, brain, bone, mediastinum, raw or unit.
            mask: "auto", or 0 to 3 for a mask of the network.
            volume, series, form: of files that hold several; as the command line's flags.
            nan: what values of a file that are NaN or infinite count as; an array comes without them.
            real_world: real world values of a DICOM image, not those of its rescale: True for the one map there is, or
                the label or unit of one.
            batch: slices in one batch.
            progress: called with how many slices are done, of how many; what it raises ends the run.
            cancel: stops the run from elsewhere.
            task, modality, body_part, subregion, organ, target: a place in MedSegDB's tree (`medsegx.tasks`), for boxes that
                name none.

        Raises:
            medsegx.Error: its subclasses say which kind of failure it is.
            TypeError, ValueError: an image or boxes of a form that is not taken.
            KeyboardInterrupt: Ctrl-C, within 50 ms.
        """
        place = checked(levels)
        options = given(
            orient=orient, intensity=intensity, mask=str(mask), series=series, form=form, nan=nan, batch=batch,
            volume=None if volume is None else str(volume), axis=axis_of(slice_axis),
            real_world="" if real_world is True else real_world or None,
        )  # fmt: skip
        found = None
        if _image.is_path(image):
            _refuse(spacing=spacing, affine=affine, axes=axes)
        else:
            _refuse(volume=volume, series=series, real_world=real_world or None, form=form, nan=nan)
            found = _image.recognise(image, spacing, affine, axes)
        name = name_of(place)
        options |= given(name=name, interpolate=interpolate or None)
        around = given(
            rough_label=rough_label, rough_threshold=rough_threshold, rough_parts=rough_parts or None, margin=margin
        )
        if (boxes is None) == (rough is None):
            raise ValueError(f"boxes, rough: got {'neither' if boxes is None else 'both'}; needs one of them")
        if rough is None:
            _refuse(**around)
        else:
            options |= _around(_image.mask_on(found, rough, "rough"), around)
        asked = None if boxes is None else _boxes.written(boxes, name)
        given_image = image if found is None else (found.array, found.layout)
        answer = _medsegx.segment(self._native, given_image, asked, place, options, progress, cancel)
        flat, dims, shape, matrix, report = answer
        if found is None:
            labels = flat.reshape(tuple(dims), order="F") if shape is None else flat.reshape(tuple(shape))
            return result(labels, "xyz" if shape is None else "zyx"[-len(shape) :], matrix, report)
        return result(found.labels(flat, dims), found.axes, matrix, report)

    async def segment_async(self, image: Any, *, cancel: Cancel | None = None, **asked: Any) -> Result:
        """As `segment`, on another thread while the event loop goes on. `progress` is called on that thread.

        A task that is cancelled has ended the run before CancelledError of asyncio leaves it.
        """
        stop = Cancel() if cancel is None else cancel
        return await _awaited(partial(self.segment, image, cancel=stop, **asked), stop)

    def session(self, *, mask: int | str = "auto", max_points: int = 16) -> Session:
        """A session: a slice is encoded once and prompted many times."""
        return Session(self, mask=mask, max_points=max_points)


class Session:
    """One slice of a model at a time. One thread at a time with one session; others wait."""

    def __init__(self, model: Model, *, mask: int | str = "auto", max_points: int = 16) -> None:
        self._native = _medsegx.Session(model._native, str(mask), max_points)
        self._shape: tuple[int, int] | None = None
        self._warnings: list[Warning] = []

    @property
    def warnings(self) -> list[Warning]:
        """What looks wrong with the slice, and with how it is shown to a tuned model. Of one slice the axis and where it lies
        in the patient are not known: `tuned-otherwise` compares the intensity alone."""
        return list(self._warnings)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of the slice."""
        return self._shape

    def set_slice(
        self,
        picture: npt.ArrayLike,
        *,
        intensity: str | None = None,
        cancel: Cancel | None = None,
        **levels: Unpack[Levels],
    ) -> None:
        """Encodes a slice [height, width] or [height, width, 3]; without `intensity` by its own minimum and maximum,
        8-bit values as they are."""
        found = _image.recognise(picture)
        if len(found.shape) != 2:
            raise ValueError(f"picture: got shape {np.shape(picture)}; needs [height, width] or [height, width, 3]")
        place = checked(levels)
        self._shape, self._warnings = None, []
        (height, width), told = self._native.set_slice(found.array, found.layout, place, intensity, cancel)
        self._shape, self._warnings = (height, width), [Warning(code, message) for code, message in told]

    def prompt(
        self, box: npt.ArrayLike | None = None, *, points: Any = (), cancel: Cancel | None = None
    ) -> Prompted:
        """The mask of a box x0, y0, x1, y1 (inclusive indices), points (x, y, inside) for SAM weights, or both."""
        region = None if box is None else [float(number) for number in np.asarray(box, dtype=np.float64).ravel()]
        if region is not None and len(region) != 4:
            raise ValueError(f"box: got {box!r}; needs x0, y0, x1, y1")
        clicks = [(float(x), float(y), bool(inside)) for x, y, inside in points]
        return Prompted(*self._native.prompt(region, clicks, cancel))


def _around(rough: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What is asked for of a rough mask."""
    label = options.get("rough_label", [])
    labels = [int(one) for one in (label if isinstance(label, Iterable) else [label])]
    if labels and "rough_threshold" in options:
        raise ValueError("rough_label, rough_threshold: got both; needs one of them")
    if any(label < 0 for label in labels):
        raise ValueError(f"rough_label: got {labels}; needs labels from 0 on")
    margin = int(options.get("margin", 0))
    if margin < 0:
        raise ValueError(f"margin: got {margin}; needs a number of voxels from 0 on")
    return {**options, "rough": rough, "rough_label": labels, "margin": margin}


def _refuse(**values: Any) -> None:
    if more := given(**values):
        raise ValueError(f"{', '.join(more)}: got {more!r}; needs none for an image or prompt of this kind")


def axis_of(name: str) -> int:
    if name not in ("x", "y", "z"):
        raise ValueError(f"slice_axis: got {name!r}; needs 'x', 'y' or 'z'")
    return "xyz".index(name)


async def _awaited(call: Callable[[], T], stop: Cancel) -> T:
    import asyncio  # a caller has it; for others it is most of what the import would cost

    work = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        while not work.done():
            # In steps: nothing else wakes the loop of a notebook when its cell is interrupted.
            await asyncio.wait({work}, timeout=_STEP)
    except BaseException:
        stop.set()
        while not work.done():
            try:
                await asyncio.wait({work}, timeout=_STEP)
            except asyncio.CancelledError:
                continue
        if not work.cancelled():
            work.exception()
        raise
    return work.result()
