"""Images of other packages, recognised by their type without importing any of them, and how their arrays lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Affine = tuple[tuple[float, float, float, float], ...]

_IDENTITY_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Layout:
    """Where x, y, z of the engine lie in an array, and what its values stand for."""

    name: str
    axes: tuple[int | None, int | None, int | None]
    channel: int | None = None
    affine: Any = None
    slope: float = 1.0
    intercept: float = 0.0


@dataclass
class Image:
    """An array that is ready to be read where it lies."""

    array: npt.NDArray[Any]
    layout: Layout
    shape: tuple[int, ...]
    """Shape of the labels: the array's own, without an axis of colours."""
    keeper: Any = field(default=None, repr=False)
    """Whoever owns the memory, where the array does not say."""

    @property
    def axes(self) -> str:
        """Which of x, y, z the axes of the labels are; "1" one of length 1 that is none of them."""
        order = sorted((place, name) for name, place in zip("xyz", self.layout.axes, strict=True) if place is not None)
        names = "".join(name for _, name in order)
        if len(self.shape) <= len(names):
            return names[: len(self.shape)]
        more = len(self.shape) - len(names)
        return "1" * more + names if self.shape[0] == 1 else names + "1" * more

    def labels(self, flat: npt.NDArray[Any], dims: Sequence[int]) -> npt.NDArray[Any]:
        """Labels, x fastest, with the axes of the array; a view."""
        labels = flat.reshape(tuple(dims), order="F")
        order = [axis for axis in self.layout.axes if axis is not None]
        labels = labels[tuple(slice(None) if axis is not None else 0 for axis in self.layout.axes)]
        spatial = sorted(order)
        labels = labels.transpose([order.index(axis) for axis in spatial])
        return labels.reshape(self.shape)


    def laid(self, array: npt.NDArray[Any], name: str) -> Image:
        """An array of the labels' shape, as they lie."""
        if array.shape != self.shape:
            raise ValueError(f"{name}: got {array.shape}; needs an array of shape {self.shape}, as the labels")
        voxels = self.array.shape[: self.layout.channel]
        layout = Layout(name, self.layout.axes, None, self.layout.affine)
        return Image(array.reshape(voxels), layout, self.shape)


def is_path(image: object) -> bool:
    return isinstance(image, (str, os.PathLike))


def recognised(image: Any) -> Image | None:
    """The array of another package's image; None for a plain array."""
    return _nibabel(image) or _simple_itk(image) or _itk(image) or _torchio(image) or _meta_tensor(image)


def recognise(image: Any, spacing: Any = None, affine: Any = None, axes: str | None = None) -> Image:
    """The array of an image and how it lies. `spacing`, `affine` and `axes` are for plain arrays."""
    found = recognised(image)
    if found is not None:
        given = {"spacing": spacing, "affine": affine, "axes": axes}
        if any(value is not None for value in given.values()):
            names = ", ".join(name for name, value in given.items() if value is not None)
            raise ValueError(f"{names}: {type(image).__name__} has its own; these are for plain arrays")
        return found
    return _array(image, spacing, affine, axes)


def mask_on(image: Image | None, mask: Any, name: str) -> Any:
    """A mask for `image` (None for one that is a path): its path, or its array and how that lies. A plain array lies as the
    labels of the image would."""
    if is_path(mask):
        return os.fspath(mask)
    found = recognised(mask)
    if found is None and image is None:
        raise TypeError(f"{name}: got {type(mask).__name__}; needs a path or an image beside an image that is a path")
    if found is None and image is not None:
        found = image.laid(_plain(mask, name), name)
    assert found is not None
    return found.array, found.layout


def _is(image: object, module: str, *names: str) -> bool:
    """Whether `image` is of a class of `module`, which somebody else has imported if it is."""
    loaded = sys.modules.get(module)
    classes = tuple(getattr(loaded, name) for name in names if hasattr(loaded, name))
    return bool(classes) and isinstance(image, classes)


def _volume(name: str, array: npt.NDArray[Any], affine: Any, keeper: Any = None, **values: float) -> Image:
    """An array with axes x, y, z; a fourth of length 1 is no component."""
    shape = array.shape
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ValueError(f"image: got shape {shape}; needs three axes, or a fourth of length 1")
    return Image(array, Layout(name, (0, 1, 2), None, _affine(affine), **values), shape, keeper)


def _nibabel(image: Any) -> Image | None:
    if not _is(image, "nibabel.spatialimages", "SpatialImage"):
        return None
    proxy, values = image.dataobj, {}
    if hasattr(proxy, "get_unscaled") and hasattr(proxy, "slope"):
        slope, intercept = float(proxy.slope), float(proxy.inter)
        array, values = np.asanyarray(proxy.get_unscaled()), {"slope": slope, "intercept": intercept}
    else:
        array = np.asanyarray(proxy)
    if image.affine is None:
        raise ValueError("image: got none; needs a nibabel image with an affine")
    if array.dtype.names is not None and array.ndim == 3:
        array = np.stack([array[name] for name in array.dtype.names[:3]], axis=-1)
        layout = Layout("nibabel image", (0, 1, 2), 3, _affine(image.affine))
        return Image(array, layout, array.shape[:3], image)
    return _volume("nibabel image", array, image.affine, image, **values)


def _simple_itk(image: Any) -> Image | None:
    if not _is(image, "SimpleITK", "Image"):
        return None
    kind = image.GetPixelIDTypeAsString()
    components, dimension = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    # A view of a label map ends the whole process.
    if "label" in kind.lower() or "complex" in kind.lower() or components not in (1, 3) or dimension not in (2, 3):
        raise TypeError(
            f"image: got {kind}, {dimension} dimensions and {components} components; "
            "needs a SimpleITK image of 2 or 3 dimensions and 1 or 3 components"
        )
    array = sys.modules["SimpleITK"].GetArrayViewFromImage(image)
    geometry = image.GetOrigin(), image.GetSpacing(), image.GetDirection()
    return _of_itk("SimpleITK image", array, components, geometry, image)


def _itk(image: Any) -> Image | None:
    if not (type(image).__module__.startswith("itk.") or _is(image, "itk", "Image")):
        return None
    itk = sys.modules.get("itk")
    if itk is None or not hasattr(image, "GetLargestPossibleRegion"):
        return None
    array = itk.array_view_from_image(image)
    components, dimension = image.GetNumberOfComponentsPerPixel(), image.GetImageDimension()
    if components not in (1, 3) or dimension not in (2, 3):
        raise TypeError(
            f"image: got {dimension} dimensions and {components} components; needs an itk image of 2 or 3 dimensions and 1 or 3 components"
        )
    direction = itk.array_from_matrix(image.GetDirection()).ravel()
    geometry = tuple(image.GetOrigin()), tuple(image.GetSpacing()), tuple(direction)
    return _of_itk("itk image", array, components, geometry, (image, array))


def _of_itk(name: str, array: npt.NDArray[Any], components: int, geometry: Any, keeper: Any) -> Image:
    """An array (z, y, x), components last; the keeper lives as long as the view of its memory."""
    channel = array.ndim - 1 if components > 1 else None
    shape = array.shape[:channel]
    if len(shape) == 2:
        return Image(array, Layout(name, (1, 0, None), channel), shape, keeper)
    origin, spacing, direction = (np.asarray(part, dtype=np.float64) for part in geometry)
    affine = np.eye(4)
    affine[:3, :3] = direction.reshape(3, 3) * spacing
    affine[:3, 3] = origin
    layout = Layout(name, (2, 1, 0), channel, _affine(_IDENTITY_LPS @ affine))
    return Image(array, layout, shape, keeper)


def _torchio(image: Any) -> Image | None:
    if not _is(image, "torchio", "Image"):
        return None
    return _channel_first("TorchIO image", np.asarray(image.data), np.asarray(image.affine, dtype=np.float64), image)


def _meta_tensor(image: Any) -> Image | None:
    if not (_is(image, "monai.data.meta_tensor", "MetaTensor") or _is(image, "monai.data", "MetaTensor")):
        return None
    if getattr(image, "pending_operations", None):
        raise ValueError("image: got pending ones; needs a MetaTensor whose operations are applied")
    affine = np.asarray(image.affine.detach().cpu(), dtype=np.float64)
    if str(image.meta.get("space", "RAS")).upper().endswith("LPS"):
        affine = _IDENTITY_LPS @ affine
    array = np.asarray(image.detach().cpu().as_tensor())
    if array.ndim == 4:
        return _channel_first("MetaTensor", array, affine, image)
    return _volume("MetaTensor", array, affine, image)


def _channel_first(name: str, array: npt.NDArray[Any], affine: Any, keeper: Any) -> Image:
    if array.ndim != 4 or array.shape[0] != 1:
        raise ValueError(f"image: got shape {array.shape}; needs one channel and three axes")
    found = _volume(name, array[0], affine, keeper)
    found.shape = array.shape
    return found


def _plain(image: Any, name: str) -> npt.NDArray[Any]:
    if np.ma.isMaskedArray(image):
        raise TypeError(f"{name}: got a masked array; needs one without a mask, as {name}.filled(0)")
    if type(image).__module__.split(".")[0] == "torch":
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray) and not hasattr(image, "__array__") and not hasattr(image, "__array_interface__"):
        raise TypeError(f"{name}: got {type(image).__name__}; needs a path, an array or an image")
    return np.asarray(image)


def _array(image: Any, spacing: Any, affine: Any, axes: str | None) -> Image:
    array = _plain(image, "image")
    shape = array.shape
    if array.ndim == 4 and array.shape[-1] == 1 and affine is not None:
        array = array[..., 0]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3 and affine is None and spacing is None):
        if affine is not None or spacing is not None or axes not in (None, "yx"):
            raise ValueError(f"affine, spacing, axes: a picture of shape {shape} takes none of them")
        return Image(array, Layout("array", (1, 0, None), 2 if array.ndim == 3 else None), shape[:2])
    if array.ndim != 3:
        raise ValueError(f"image: got {array.ndim} axes, of shape {shape}; needs 2 or 3 axes, or 3 with colour last")
    if affine is None and spacing is None:
        raise ValueError(
            f"image: an array of shape {shape} does not say where its voxels lie; needs affine= or spacing="
        )
    if affine is not None and spacing is not None:
        raise ValueError("affine, spacing: got both; needs one of them")
    chosen = axes or ("xyz" if affine is not None else "zyx")
    if sorted(chosen) != ["x", "y", "z"] or (affine is not None and chosen != "xyz"):
        expected = "'xyz' with an affine" if affine is not None else "an order of x, y, z, as 'zyx'"
        raise ValueError(f"axes: got {chosen!r}; needs {expected}")
    places = (chosen.index("x"), chosen.index("y"), chosen.index("z"))
    if spacing is not None:
        steps = np.asarray(spacing, dtype=np.float64)
        if steps.shape != (3,) or not (np.isfinite(steps).all() and (steps > 0).all()):
            raise ValueError(f"spacing: got {spacing}; needs three numbers above 0, in the order of the array's axes")
        affine = np.diag([*(steps[place] for place in places), 1.0])
    return Image(array, Layout("array", places, None, _affine(affine)), shape)


def _affine(affine: Any) -> Affine:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"affine: got shape {matrix.shape}; needs a finite 4 x 4 matrix")
    return tuple(tuple(float(value) for value in row) for row in matrix)  # type: ignore[misc]
