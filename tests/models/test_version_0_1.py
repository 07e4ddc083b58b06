"""Weights of version 0.1: they are loaded, and reconstruct what that version did."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.geometry import geometry_from_dict

FOLDER = Path(__file__).resolve().parents[1] / "data_of_0_1" / "weights"


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.safetensors"))])
def test_weights_reconstruct_as_they_did(name: str) -> None:
    model = tl.load(FOLDER / name)
    A = tl.RayTransform(*(geometry_from_dict(model.card[part]) for part in ("grid", "scan")))
    sinogram = torch.from_numpy(np.load(FOLDER / "sinogram.npy"))
    with torch.no_grad():
        found = model(sinogram[None], A)[0]
    # a few dozen sums in float32
    np.testing.assert_allclose(found, np.load(FOLDER / f"{name}.npy"), rtol=1e-4, atol=1e-5)
