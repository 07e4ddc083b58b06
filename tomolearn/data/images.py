"""Images in the files of a folder: arrays, pictures and DICOM slices.

Values are what the files have times a scale. Those of DICOM are attenuation in 1/mm, made of
Hounsfield units.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_float
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.memory import check_unpacked
from tomolearn.data.arrays import ARRAY_SUFFIXES, opened_array, resized

if TYPE_CHECKING:
    from tomolearn.dicom import SliceInfo

SPLIT_BY = ("patient", "folder", "file")
"""What must not be torn apart by a split."""

_FEW = 5  # skipped files that are named
_TIFF = (".tif", ".tiff")
_SUFFIXES = (*ARRAY_SUFFIXES, ".png", *_TIFF)
# What PIL and tifffile raised for files in which bytes were changed or cut off at random.
_DAMAGE = (
    *(OSError, ValueError, TypeError, EOFError, LookupError, SyntaxError, MemoryError),
    *(struct.error, zlib.error),
)


@dataclass(frozen=True)
class ImageFile:
    """A file with images of one shape."""

    name: str  # path within the folder, with "/"
    shape: tuple[int, int, int]  # number of images, rows, columns
    size: int  # in bytes
    group: str  # patient, folder or file that stays together
    spacing: tuple[float, float] | None = None  # in mm, of rows and columns, where the file says it


# path, group, spacing, images one by one
_Source = tuple[Path, str, tuple[float, float] | None, Iterator[NDArray[np.float32]]]


@dataclass(frozen=True)
class FoundImages:
    """What `find_images` found."""

    folder: Path
    files: tuple[ImageFile, ...]  # in the order of their names
    skipped: Mapping[str, str]  # why other files are left out, by name
    split_by: str  # one of `SPLIT_BY`
    is_dicom: bool  # whether values are attenuation in 1/mm
    values: tuple[float, float]  # smallest and largest

    @property
    def n_images(self) -> int:
        """Number of images."""
        return sum(file.shape[0] for file in self.files)

    def __str__(self) -> str:
        return f"{self.n_images} images in {len(self.files)} files of {self.folder}"

    @property
    def skipped_in_words(self) -> str:
        """Number, names and reasons of skipped files, of the first few."""
        named = [f"{name} ({reason})" for name, reason in list(self.skipped.items())[:_FEW]]
        rest = len(self.skipped) - len(named)
        more = f" and {rest} more" if rest else ""
        return f"{len(self.skipped)} skipped: {', '.join(named)}{more}"


def find_images(
    folder: Path, *, scale: float | None = None, split_by: str | None = None
) -> FoundImages:
    """Read all images of a folder, and of those in it, once, to know what there is.

    They are arrays or pictures (rows, columns) or (n, rows, columns), or CT series as DICOM files.
    `scale` multiplies stored values, or attenuation in 1/mm; integers need it. The groups are what
    `split_by` says, of `SPLIT_BY`; by default the patient for DICOM, or else the file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    if scale is not None:
        check_float("image_scale", scale, positive=True)
    if split_by is not None:
        check_choice("split_by", split_by, SPLIT_BY)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    kinds = Counter(_kind(path) for path in paths if path.suffix.lower() in _SUFFIXES)
    if len(kinds) > 1:
        counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        raise TomolearnError(f"{folder}: expected images of one kind, got {counts}")
    skipped: dict[str, str] = {}
    if kinds and split_by == "patient":
        raise TomolearnError("split_by: expected folder or file; only DICOM files name a patient")
    split_by = split_by or ("file" if kinds else "patient")
    sources = (
        _array_sources(folder, paths, scale, split_by, skipped)
        if kinds
        else _dicom_sources(folder, scale, split_by, skipped)
    )
    files: list[ImageFile] = []
    values: list[float] = []
    for path, group, spacing, images in sources:
        name = path.relative_to(folder).as_posix()
        try:
            shape, ends = _survey(images)
        except _NeedsScale:
            raise
        except _DAMAGE as error:
            skipped[name] = _reason(error, path)
            continue
        files.append(ImageFile(name, shape, path.stat().st_size, group, spacing))
        values += ends
    if not kinds:
        files.sort(key=lambda file: file.name)
    ends = (min(values), max(values)) if values else (0.0, 0.0)
    found = FoundImages(folder, tuple(files), skipped, split_by, not kinds, ends)
    if not files:
        raise TomolearnError(
            f"{folder}: expected images as {', '.join(_SUFFIXES)} or DICOM files, got "
            f"{found.skipped_in_words}"
        )
    return found


@dataclass(frozen=True)
class ImageFolder:
    """Images of some files in a folder, numbered in a random order.

    With `resize` images of another shape than asked for are interpolated linearly, after a Gaussian
    blur where pixels grow; otherwise they are an error.
    """

    folder: Path
    files: tuple[ImageFile, ...]  # as they were found
    scale: float | None = None  # as for `find_images`
    resize: bool = False
    order: int = 0  # seed of the order
    _places: list[tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for file in self.files:
            path = self.folder / file.name
            if not path.is_file():
                raise FileNotFoundError(f"{path}: there is no such file any more")
            if (size := path.stat().st_size) != file.size:
                raise TomolearnError(
                    f"{path}: expected {file.size} bytes, as when it was found, got {size}"
                )
        places = [(k, index) for k, file in enumerate(self.files) for index in range(file.shape[0])]
        np.random.default_rng(self.order).shuffle(places)
        object.__setattr__(self, "_places", places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def is_dicom(self) -> bool:
        """Whether values are made of Hounsfield units."""
        return _is_dicom(self.files[0].name)

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image in this shape; `rng` is left alone."""
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one from 0 to {len(self) - 1}, got {index}")
        number, place = self._places[index]
        path = self.folder / self.files[number].name
        if self.is_dicom:
            image = _attenuation(path, place, self.scale)
        else:
            with _opened(path) as stack:
                image = _values(path, stack[place], self.scale)
        if image.shape != tuple(shape) and not self.resize:
            raise TomolearnError(f"{path}: expected shape {tuple(shape)}, got {image.shape}")
        return resized(image, shape)

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {
            "type": type(self).__name__,
            "folder": str(resolved(self.folder)),
            "files": [asdict(file) for file in self.files],
            "scale": self.scale,
            "resize": self.resize,
            "order": self.order,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageFolder:
        """Build what `to_dict` wrote down."""
        fields = dict(values)
        if (kind := fields.pop("type", None)) != cls.__name__:
            raise TomolearnError(f"type: expected {cls.__name__}, got {kind!r}")
        try:
            files = tuple(map(_file, fields.pop("files")))
            return cls(Path(fields.pop("folder")), files, **fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise TomolearnError(f"{cls.__name__}: expected what to_dict wrote, {error}") from error

    def __str__(self) -> str:
        return f"{len(self)} images in {len(self.files)} files of {self.folder}"


def _file(values: Mapping[str, Any]) -> ImageFile:
    spacing = values["spacing"] and tuple(values["spacing"])
    return ImageFile(**{**values, "shape": tuple(values["shape"]), "spacing": spacing})


def _is_dicom(name: str) -> bool:
    return not name.lower().endswith(_SUFFIXES)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return {".tif": ".tiff", ".h5": ".hdf5"}.get(suffix, suffix)


def _array_sources(
    folder: Path, paths: Sequence[Path], scale: float | None, split_by: str, skipped: dict[str, str]
) -> Iterator[_Source]:
    for path in paths:
        name = path.relative_to(folder)
        if path.suffix.lower() not in _SUFFIXES:
            skipped[name.as_posix()] = "no image"
            continue
        group = name if split_by == "file" else name.parent
        yield path, group.as_posix(), None, _stored(path, scale)


def read_image(path: Path, *, scale: float | None = None) -> NDArray[np.float32]:
    """Read the only image of a file: a picture, or an array in a numpy or HDF5 file.

    Black and white are 0 and 1.

    Parameters
    ----------
    path : path
    scale : float, optional
        What stored values are multiplied by; integers need it.

    Raises
    ------
    OSError, ValueError
        If it is no such file, or damaged, or has another number of images.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise TomolearnError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}")
    try:
        with _opened(path) as stack:
            images = [np.asarray(stack[k]) for k in range(stack.shape[0])]
    except (TomolearnError, FileNotFoundError):
        raise
    except _DAMAGE as error:
        raise TomolearnError(f"{path}: expected a complete image, got {error}") from error
    if len(images) != 1:
        raise TomolearnError(f"{path}: expected one image, got {len(images)}")
    image = images[0]
    return _values(path, image.astype(np.float32) if image.dtype == bool else image, scale)


def _stored(path: Path, scale: float | None) -> Iterator[NDArray[np.float32]]:
    with _opened(path) as stack:
        for k in range(stack.shape[0]):
            yield _values(path, stack[k], scale)


def _dicom_sources(
    folder: Path, scale: float | None, split_by: str, skipped: dict[str, str]
) -> Iterator[_Source]:
    from tomolearn.dicom import find_series

    index = find_series(folder)
    for one in index.skipped:
        skipped[one.path.relative_to(folder).as_posix()] = f"{one.reason}: {one.detail}"
    for series in index.series:
        frames: dict[Path, list[SliceInfo]] = {}
        for info in series.slices:
            frames.setdefault(info.path, []).append(info)
        for path, slices in frames.items():
            name = path.relative_to(folder)
            groups = {
                "patient": series.patient_id or series.identity.person or series.uid,
                "folder": name.parent.as_posix(),
                "file": name.as_posix(),
            }
            yield path, groups[split_by], slices[0].spacing, _frames(path, slices, scale)


def _frames(
    path: Path, slices: Sequence[SliceInfo], scale: float | None
) -> Iterator[NDArray[np.float32]]:
    if {one.frame or 0 for one in slices} != set(range(len(slices))):
        raise TomolearnError("only some of its images are slices of the series")
    for frame in range(len(slices)):
        yield _attenuation(path, frame, scale)


def _survey(
    images: Iterable[NDArray[np.float32]],
) -> tuple[tuple[int, int, int], tuple[float, float]]:
    """Return number and shape of images, and their smallest and largest value."""
    facts = [(image.shape, float(image.min()), float(image.max())) for image in images]
    shapes = sorted({shape for shape, _, _ in facts})
    if len(shapes) != 1:
        raise TomolearnError(f"expected images of one shape, got {shapes or 'no image'}")
    rows, columns = shapes[0]
    return (len(facts), rows, columns), (min(f[1] for f in facts), max(f[2] for f in facts))


def _reason(error: Exception, path: Path) -> str:
    first, _, _ = str(error).removeprefix(f"{path}: ").partition(". ")
    return first or type(error).__name__


def _attenuation(path: Path, frame: int, scale: float | None) -> NDArray[np.float32]:
    from tomolearn.dicom import hounsfield_to_attenuation, read_slice

    # units were judged when the series was found
    read = read_slice(path, frame=frame, assume_hu=True)
    image = hounsfield_to_attenuation(read.hounsfield)
    return (image * (1.0 if scale is None else scale)).astype(np.float32)


class _NeedsScale(TomolearnError):
    """Integers whose meaning nobody has said."""


def _values(path: Path, stored: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """Return an image in float32."""
    if stored.ndim != 2 or stored.size == 0 or stored.dtype.kind not in "fiu":
        raise TomolearnError(
            f"{path}: expected grey values (rows, columns), got {stored.dtype} {stored.shape}"
        )
    if scale is None and stored.dtype.kind != "f":
        largest = np.iinfo(stored.dtype).max
        raise _NeedsScale(
            f"image_scale: expected a number that the {stored.dtype} values of {path} are "
            f"multiplied by, for example {1 / largest:.4g} to have {largest} as 1, got none"
        )
    with np.errstate(over="ignore"):
        image = (stored.astype(np.float64) * (1.0 if scale is None else scale)).astype(np.float32)
    if not np.isfinite(image).all():
        raise TomolearnError(f"{path}: expected finite values, got others")
    return image


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file as something with the images along its first axis."""
    suffix = path.suffix.lower()
    if suffix == ".png":
        from imageio.v3 import imread
        from PIL import Image

        try:
            Image.open(path).close()  # its header alone
        except Image.DecompressionBombError as error:
            raise TomolearnError(f"{path}: {error}") from error
        yield imread(path, plugin="pillow")[None]
    elif suffix in _TIFF:
        from tifffile import TiffFile

        with _complaints("tifffile") as complaints, TiffFile(path) as file:
            pages = _Pages(file.pages)
            if complaints:
                raise TomolearnError(f"{path}: {complaints[0]}")
            yield pages
    else:
        with opened_array(path) as array:
            yield array if array.ndim == 3 else np.asarray(array[()])[None]


@contextmanager
def _complaints(logger: str) -> Iterator[list[str]]:
    """Collect errors that a library only logs, as tifffile those of files cut off after a page."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger(logger).removeHandler(handler)


class _Pages:
    """Pages of a TIFF file, read one by one."""

    def __init__(self, pages: Any) -> None:
        self._pages, self.shape = pages, (len(pages),)

    def __getitem__(self, index: int) -> NDArray[Any]:
        page = self._pages[index]
        size, path = page.parent.filehandle.size, page.parent.filehandle.path
        check_unpacked(path, page.size * np.dtype(page.dtype).itemsize, size)
        values: NDArray[Any] = page.asarray()
        return values
