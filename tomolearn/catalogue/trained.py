"""Trained weights as a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tomolearn._core.checkpoints.files import find_files, read_card_file
from tomolearn._core.errors import (
    DivergenceError,
    TomolearnError,
    TrainedElsewhereWarning as TrainedElsewhereWarning,
)
from tomolearn.methods.method import Method, setting

if TYPE_CHECKING:
    import torch

    from tomolearn.geometry import Grid, Scan
    from tomolearn.models import ReconstructionModel
    from tomolearn.models.provenance import Use, Watch
    from tomolearn.operators import LinearOperator


class WeightsChangedError(TomolearnError):
    """Weights are others than those of the same name that a method was made with."""


@dataclass(frozen=True, kw_only=True)
class Trained(Method):
    """A network with trained weights.

    They are read when they are first called on a device, and kept for the next call. What the card
    says of the training is compared with what they are called with; of each scanner all differences
    are warned of once, in one message (`TrainedElsewhereWarning`).

    Parameters
    ----------
    weights : str
        Name of weights that come with the package, or the path of a file, as for `tomolearn.load`.
    image_scale : float
        What attenuation in 1/mm is multiplied by to be like the images of the training.
    model : str, optional
        Class of a network of yours, ``file.py:name`` or ``module:name``, whose weights they are.
        No code runs because a card says so.
    sha256 : str, optional
        Digest that the weights must have. Default: whatever they are; it is read from their card.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    TypeError, ValueError
        If the card is damaged, or the weights are others than `sha256` says.
    DivergenceError
        When it is called, if the image contradicts its data: the network is far from what it was
        trained for.
    """

    weights: str
    image_scale: float = setting(
        1.0, help="what image values are multiplied by to be like those of the training", above=0
    )
    model: str | None = setting(None, help="class of a network of yours, file.py:name")
    sha256: str | None = None
    use: Use | None = field(default=None, repr=False, compare=False)
    _watches: list[Watch] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        card = self.card
        if card["kind"] != "model":
            raise TomolearnError(
                f"{self.weights}: expected weights of a model, got those of a {card['kind']}"
            )
        digest = card["sha256"]
        if self.sha256 not in (None, digest):
            raise _changed(self.weights, self.sha256, digest)
        object.__setattr__(self, "sha256", digest)

    @property
    def name(self) -> str:
        """Name or path of the weights."""
        return self.weights

    @property
    def card(self) -> dict[str, Any]:
        """What is written down about the weights, see `tomolearn.save`."""
        return read_card_file(find_files(self.weights))

    def to_dict(self) -> dict[str, Any]:
        """Return name, settings and digest of the weights, ready for JSON."""
        settings = {one.name: getattr(self, one.name) for one in self.settings()}
        return {"name": self.weights, **settings, "sha256": self.sha256}

    def network(self, device: torch.device | str = "cpu") -> ReconstructionModel:
        """Return the network, in evaluation mode; the same at every call."""
        return _network(self.weights, self.sha256, str(device), self.model)

    def prepare(self) -> None:
        """Load the network; `WeightsChangedError` if its weights are others by now."""
        self.network()

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the network's part that works on images; `unit` does not matter."""
        import torch

        network = self.network()
        denoiser = network.denoiser()
        scale = self.image_scale * network.image_scale
        if self.use is not None:
            provenance = self._watch().provenance
            provenance.warn(provenance.differences(level=self.use.level, scale=scale), stacklevel=2)

        def denoise(images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                cleaned: torch.Tensor = denoiser(images * scale) / scale
            return cleaned

        return denoise

    def __call__(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct; it runs without gradients."""
        import torch

        with torch.no_grad():
            network = self.network(sinogram.device)
            watch = self._watch()
            scaled = sinogram * self.image_scale
            scale = self.image_scale * network.image_scale
            if sinogram.numel():
                watch.compare(sinogram, operator, scale, stacklevel=2)
            image = network.apply_to(scaled, operator)
            wrong = watch.contradiction(image, scaled, operator) if sinogram.numel() else None
            if wrong is not None:
                raise DivergenceError(wrong)
            return image / self.image_scale

    def informed(self, noise: Any) -> Trained:
        """Return the method with what it is used on: this noise, to be compared with its card's."""
        return self.used_on(noise={} if noise is None else noise.to_dict())

    def used_on(self, **known: Any) -> Trained:
        """Return the method with what else is known of its use: `models.provenance.Use`."""
        from tomolearn.models.provenance import Use

        return replace(self, use=replace(self.use or Use(), **known))

    def _watch(self) -> Watch:
        from tomolearn.models.provenance import Provenance, Use, Watch

        if not self._watches:
            provenance = Provenance.of_card(self.weights, self.card)
            self._watches.append(Watch(provenance, self.use or Use()))
        return self._watches[0]

    def warn_elsewhere(self, grid: Grid, scan: Scan, task: str | None = None) -> None:
        """Warn (`TrainedElsewhereWarning`) if the weights are for another task, grid or scan."""
        provenance = self._watch().provenance
        found = provenance.differences(task=task, grid=grid, scan=scan)
        provenance.warn(found, stacklevel=2)


@lru_cache(maxsize=4)
def _network(
    weights: str, sha256: str | None, device: str, model: str | None
) -> ReconstructionModel:
    from tomolearn.training import load

    network = load(weights, device=device, model=model)
    found = (network.card or {}).get("sha256")
    if found != sha256:
        raise _changed(weights, sha256, found)
    return network


def _changed(weights: str, expected: object, found: object) -> WeightsChangedError:
    return WeightsChangedError(
        f"{weights}: expected weights with SHA-256 {str(expected)[:12]}..., got "
        f"{str(found)[:12]}...; they have changed since the method was made"
    )
