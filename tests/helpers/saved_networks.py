"""Small networks on the disk, for the tests of weights, cards and the command line."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import tomolearn as tl
from tomolearn.models import LearnedPrimalDual, ReconstructionModel

GRID = tl.Grid((8, 8), 0.7)
SCAN = tl.ParallelBeam.covering(GRID, 4)
CARD = {
    "task": "ellipses",
    "grid": GRID,
    "scan": SCAN,
    "metrics": {"psnr": 31.25, "noisy": {"psnr": 28.5}, "convention": "range 1 | fixed"},
    "training": {
        "data": "drawn",
        "steps": 7,
        "seed": 20240613,
        "hours": 0.5,
        "command": "a \\\n b",
    },
    "about": {"description": "Tiny.", "limits": "images in [0, 1]", "licence": "CC0"},
}


def tiny(seed: int = 0, **arguments: int) -> LearnedPrimalDual:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LearnedPrimalDual(
            **{"iterations": 2, "n_primal": 3, "n_dual": 2, "channels": 4} | arguments
        )


def same_bits(a: ReconstructionModel, b: ReconstructionModel) -> bool:
    def bits(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and torch.equal(bits(first[name]), bits(second[name]))
        for name in first
    )


def edit(stem: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = stem.with_suffix(".json")
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def put(stem: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace the weights, and sign them."""
    content = safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()})
    stem.with_suffix(".safetensors").write_bytes(content)
    sign(stem, content)


def sign(stem: Path, content: bytes) -> None:
    """Let the card say that `content` are its weights."""
    signature = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(stem, lambda card: card.update(signature))


def refused(kind: type[Exception], match: str, path: Path | str) -> None:
    with pytest.raises(kind, match=match):
        tl.load(path)
