"""Trained priors by name or path, without knowing which of the two kinds they are."""

import pytest
import torch
from saved_networks import edit, tiny

import tomolearn as tl
from tomolearn.priors import SpectralDenoiser, SquaredDifferences


def test_whatever_prior_lies_there_is_loaded(tmp_path):
    tl.save(SquaredDifferences(ndim=3), tmp_path / "smooth", training={"noise_level": 0.1})
    denoiser = SpectralDenoiser(depth=3, channels=4)
    tl.save(denoiser, tmp_path / "clean")
    smooth, clean = (tl.priors.load(tmp_path / name) for name in ("smooth", "clean"))
    assert isinstance(smooth, SquaredDifferences)
    assert smooth.ndim == 3
    assert smooth.card["training"] == {"noise_level": 0.1}
    assert isinstance(clean, SpectralDenoiser)
    assert not clean.training
    for name, weights in denoiser.state_dict().items():
        torch.testing.assert_close(clean.state_dict()[name], weights, rtol=0, atol=0)


def test_networks_and_foreign_code_are_refused(tmp_path):
    tl.save(tiny(), tmp_path / "net")
    with pytest.raises(ValueError, match="expected a denoiser or a regulariser, got a model"):
        tl.priors.load(tmp_path / "net")
    tl.save(SquaredDifferences(), tmp_path / "smooth")
    edit(tmp_path / "smooth", lambda card: card.update(model="mine.py:Smooth"))
    with pytest.raises(ValueError, match="is code of someone's and not run"):
        tl.priors.load(tmp_path / "smooth")
    found = tl.priors.load(tmp_path / "smooth", model=SquaredDifferences)
    assert isinstance(found, SquaredDifferences)
