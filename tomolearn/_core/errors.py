"""Exceptions and warnings that users may catch."""

from __future__ import annotations


class TomolearnError(ValueError):
    """A user's mistake: a wrong argument, option or file. The message says what would do."""


class TomolearnTypeError(TomolearnError, TypeError):
    """An argument of a wrong type."""


class DivergenceError(TomolearnError, FloatingPointError):
    """An iteration that runs away instead of converging."""


class ConvergenceWarning(UserWarning):
    """An iteration that ended before it reached what was asked of it."""


class UnknownConvergenceWarning(UserWarning):
    """An iteration that may or may not converge: nothing is known of it."""


class SkippedImagesWarning(UserWarning):
    """Images that have no metrics, or of which a method made none, and that do not count."""


class TrainedElsewhereWarning(UserWarning):
    """Weights are used on another task, grid, scan, noise or range of values than in training."""


class UnitWarning(UserWarning):
    """Numbers that look as if they were in another unit: degrees, counts, metres."""
