"""Trained priors by name."""

from __future__ import annotations

import os
from typing import cast

import torch

from tomolearn._core.checkpoints.loading import Kind, load_module
from tomolearn.priors.prior import Denoiser, Regulariser
from tomolearn.priors.table import PRIORS

PRIOR_KINDS = {
    "denoiser": Kind(Denoiser, PRIORS),
    "regulariser": Kind(Regulariser, PRIORS),
}
"""What checkpoints of priors hold, by the word that their cards have for it."""


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    model: str | type[Regulariser] | type[Denoiser] | None = None,
) -> Regulariser | Denoiser:
    """Rebuild a trained regulariser or denoiser from its files, whichever of the two it is.

    Parameters
    ----------
    name_or_path : str or path
        The name of a prior that comes with the package, ``"crr-chest"``, or one of the two files
        that `tomolearn.save` wrote, or their common name without suffix.
    device : torch.device or str, optional
        Where the weights are put. Default: the CPU.
    model : type or str, optional
        The class, or where it stands, ``path/to/file.py:Prior`` or ``module:Prior``. Default: the
        one of the table `tomolearn.priors.PRIORS` that the card names.

    Returns
    -------
    Regulariser or Denoiser
        In evaluation mode and in the precision of the file. Its attribute ``card`` is what the
        JSON says, as a dictionary.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or there are neither weights nor a file of that name.
    ValueError
        As for `tomolearn.load`; also if the weights are those of a reconstruction network.

    Examples
    --------
    >>> regulariser = load("crr-chest")
    >>> image = tl.Variational(regulariser, weight=10.0, iterations=20)(sinogram, operator)
    """
    _, found = load_module(name_or_path, PRIOR_KINDS, device=device, model=model)
    return cast("Regulariser | Denoiser", found)
