"""Images that are measured as they are, without a scanner."""

from __future__ import annotations

from dataclasses import dataclass

from tomolearn._core.values import KindAndFields


@dataclass(frozen=True)
class Direct(KindAndFields):
    """No scanner: an image is its own measurement, of which noise makes a denoising problem."""

    def __str__(self) -> str:
        return "images as they are"
