"""Small variational autoencoders, as objects and as files."""

import tempfile
from functools import cache
from pathlib import Path

import torch

import tomolearn as tl
from tomolearn.priors import VariationalAutoencoder

_FOLDER = tempfile.TemporaryDirectory(prefix="autoencoder-")


def small_autoencoder(covariance="structured", seed=0, size=0.05, **changes):
    """Return one with random weights, in double precision."""
    settings = {"channels": (3, 4, 5), "latent_channels": 2, "scale": 2.0, "radius": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = VariationalAutoencoder(covariance=covariance, **{**settings, **changes}).double()
        with torch.no_grad():
            for weights in found.parameters():
                weights += size * torch.randn_like(weights)
    return found.requires_grad_(False)


@cache
def saved_autoencoder() -> str:
    """Return the path of the weights of one, which are there while the tests run."""
    return str(tl.save(small_autoencoder().float(), Path(_FOLDER.name) / "small"))
