"""Greedy training: one iteration of an unrolled network after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from tomolearn._core.errors import TomolearnError
from tomolearn.models import ReconstructionModel
from tomolearn.training.objectives.objective import Network
from tomolearn.training.objectives.supervised import Supervised


@dataclass(frozen=True)
class Greedy(Supervised):
    """Mean squared error after each iteration, of which one at a time is trained [1]_.

    The run is divided into as many equal stages as the network has iterations. In the k-th, images
    are those after k iterations; the weights of the first k - 1 stay as they are, and no
    activations of theirs are kept, so that a step needs the memory of one iteration. The learning
    rate starts anew in each stage.

    References
    ----------
    .. [1] A. Hauptmann, F. Lucka, M. Betcke et al., "Model-based learning for accelerated,
       limited-view 3-D photoacoustic tomography", IEEE Trans. Med. Imaging 37 (2018),
       arXiv:1708.09832, doi:10.1109/TMI.2018.2820382
    """

    uses_all_weights: ClassVar[bool] = False
    has_stages: ClassVar[bool] = True

    def check(self, network: Network) -> None:
        """Check that the network has iterations with weights of their own."""
        super().check(network)
        _stages(network)

    def progress_in_stage(self, network: Network, progress: float) -> float:
        """Return which part of the present stage is over."""
        n = _stages(network)
        return min(max(progress * n - int(min(progress * n, n - 1)), 0.0), 1.0)

    @contextmanager
    def stage(self, network: Network, progress: float) -> Iterator[None]:
        """Let the network run up to the stage's iteration, with gradients in this one only."""
        n = _stages(network)
        if not isinstance(network, ReconstructionModel):
            raise RuntimeError("network: expected one that reconstructs")
        network.only_iteration = int(min(progress * n, n - 1))
        try:
            yield
        finally:
            network.only_iteration = None


def _stages(network: Network) -> int:
    n = network.own_weights if isinstance(network, ReconstructionModel) else None
    if n is None:
        raise TomolearnError(
            "model: expected an unrolled network whose iterations have weights of their own, such "
            f"as learned-primal-dual, got {type(network).__name__}"
        )
    return n
