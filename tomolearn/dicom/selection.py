"""Selection of series: patterns of paths, descriptions, kernels and image types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.dicom.series import Series
from tomolearn.dicom.skipping import NotASlice, SkippedFile, SkipReason
from tomolearn.dicom.slices import SeriesAttributes


@dataclass(frozen=True, kw_only=True)
class SeriesFilter:
    """Filter of the series of a tree of files; all conditions have to hold.

    Patterns are those of shells, ``*``, ``?`` and ``[...]``, and do not tell capitals from small
    letters. Of several patterns one has to fit; one that begins with ``!`` must not fit.

    Parameters
    ----------
    include, exclude : sequence of str
        Patterns of files that are read, and that are not. They are compared with the path from the
        root of the search on, and those without ``/`` with the name of the file and of each folder
        above it, too.
    description : sequence of str
        Patterns of SeriesDescription.
    kernel : sequence of str
        Patterns of ConvolutionKernel.
    image_type : sequence of str
        Patterns of ImageType: of one of its values, or of all joined by backslashes.
    patient : sequence of str
        Patterns of PatientID.
    minimum_slices : int
        Fewest slices of a series, those that are lost among them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, or a pattern is empty.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    description: Sequence[str] = ()
    kernel: Sequence[str] = ()
    image_type: Sequence[str] = ()
    patient: Sequence[str] = ()
    minimum_slices: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            if field.name == "minimum_slices":
                check_int(field.name, given, minimum=1)
                continue
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise TomolearnTypeError(f"{field.name}: expected a list of texts, got {given!r}")
            for one in given:
                if not isinstance(one, str) or not one.removeprefix("!"):
                    raise TomolearnError(f"{field.name}: expected a pattern, got {one!r}")
            object.__setattr__(self, field.name, tuple(given))

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions that there are, ready for JSON."""
        values = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }

    def check_path(self, path: Path, root: Path) -> None:
        """Check the path of a file.

        Raises
        ------
        NotASlice
            If the file is not to be read.
        """
        place = path.relative_to(root).as_posix() if path != root else path.name
        names = [place, *place.split("/")]
        if self.include and not _fits(self.include, names):
            raise _refused("include", "a path like", self.include, place, SkipReason.EXCLUDED)
        if self.exclude and _fits(self.exclude, names):
            raise _refused("exclude", "a path not like", self.exclude, place, SkipReason.EXCLUDED)

    def check_image(self, attributes: SeriesAttributes, image_type: Sequence[str]) -> None:
        """Check what a file says of its series and itself.

        Raises
        ------
        NotASlice
            If it is not of a series that was asked for.
        """
        for name, element, values in (
            ("description", "SeriesDescription (0008,103E)", [attributes.description]),
            ("kernel", "ConvolutionKernel (0018,1210)", [attributes.kernel]),
            ("image_type", "ImageType (0008,0008)", ["\\".join(image_type), *image_type]),
            ("patient", "PatientID (0010,0020)", [attributes.patient_id]),
        ):
            patterns = getattr(self, name)
            if patterns and not _fits(patterns, values):
                raise _refused(name, f"{element} like", patterns, values[0])

    def check_series(self, series: Iterable[Series]) -> tuple[list[Series], list[SkippedFile]]:
        """Return series with enough slices, and the files of the others."""
        kept: list[Series] = []
        skipped: list[SkippedFile] = []
        for one in series:
            n_slices = len(one) + one.n_lost
            if n_slices >= self.minimum_slices:
                kept.append(one)
                continue
            what = NotASlice(
                SkipReason.FILTERED,
                f"minimum_slices: expected a series of at least {self.minimum_slices} slices, "
                f"got {n_slices}",
            )
            paths = dict.fromkeys(info.path for info in one.slices)
            skipped += [SkippedFile(path, what.reason, what.detail) for path in paths]
            skipped += [
                replace(lost, reason=what.reason, detail=what.detail, is_lost=False)
                for lost in one.lost
            ]
        return kept, skipped


def _fits(patterns: Sequence[str], values: Sequence[str]) -> bool:
    """Return whether a wanted pattern fits one of the values, and no unwanted one does."""

    def fits(pattern: str) -> bool:
        return any(fnmatchcase(value.casefold(), pattern.casefold()) for value in values)

    wanted = [one for one in patterns if not one.startswith("!")]
    unwanted = [one[1:] for one in patterns if one.startswith("!")]
    return (not wanted or any(map(fits, wanted))) and not any(map(fits, unwanted))


def _refused(
    name: str,
    what: str,
    patterns: Sequence[str],
    got: str,
    reason: SkipReason = SkipReason.FILTERED,
) -> NotASlice:
    said = " or ".join(patterns)
    return NotASlice(reason, f"{name}: expected {what} {said}, got {got or 'none'}")
