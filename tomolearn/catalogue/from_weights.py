"""What all methods that are made of weights share: card, digest, comparison with their use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tomolearn._core.checkpoints.files import find_files, read_card_file
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.method import Method, setting

if TYPE_CHECKING:
    from tomolearn._core.modules import Configured
    from tomolearn.geometry import Grid, Scan
    from tomolearn.models.provenance import Provenance, Use, Watch


class WeightsChangedError(TomolearnError):
    """Weights are others than those of the same name that a method was made with."""


@dataclass(frozen=True, kw_only=True)
class FromWeights(Method):
    """Base of methods that are made of saved weights.

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
        Class of your own, ``file.py:name`` or ``module:name``, whose weights they are. No code runs
        because a card says so.
    sha256 : str, optional
        Digest that the weights must have. Default: whatever they are; it is read from their card.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    TypeError, ValueError
        If the card is damaged, or the weights are others than `sha256` says.
    """

    kinds: ClassVar[tuple[str, ...]]
    """What cards say of weights of this class."""

    weights: str
    image_scale: float = setting(
        1.0, help="what image values are multiplied by to be like those of the training", above=0
    )
    model: str | None = setting(None, help="class of your own, file.py:name")
    sha256: str | None = None
    use: Use | None = field(default=None, repr=False, compare=False)
    _watches: list[Watch] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        card = self.card
        if card["kind"] not in self.kinds:
            raise TomolearnError(
                f"{self.weights}: expected weights of a {' or a '.join(self.kinds)}, got those of "
                f"a {card['kind']}"
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

    def prepare(self, device: Any = "cpu") -> None:
        """Load the weights; `WeightsChangedError` if they are others by now."""
        self._module(device)

    def informed(self, noise: Any) -> Self:
        """Return the method with what it is used on: this noise, to be compared with its card's."""
        return self.used_on(noise={} if noise is None else noise.to_dict())

    def used_on(self, **known: Any) -> Self:
        """Return the method with what else is known of its use: `models.provenance.Use`."""
        from tomolearn.models.provenance import Use

        return replace(self, use=replace(self.use or Use(), **known))

    def warn_elsewhere(self, grid: Grid, scan: Scan, task: str | None = None) -> None:
        """Warn (`TrainedElsewhereWarning`) if the weights are for another task, grid or scan."""
        provenance = self._watch().provenance
        found = provenance.differences(task=task, grid=grid, scan=scan)
        provenance.warn(found, stacklevel=2)

    def _module(self, device: Any) -> Configured:
        """Return what the weights are those of, in evaluation mode; the same at every call."""
        return _loaded(self.weights, self.card["kind"], self.sha256, str(device), self.model)

    def _provenance(self) -> Provenance:
        from tomolearn.models.provenance import Provenance

        return Provenance.of_card(self.weights, self.card)

    def _watch(self) -> Watch:
        from tomolearn.models.provenance import Use, Watch

        if not self._watches:
            self._watches.append(Watch(self._provenance(), self.use or Use()))
        return self._watches[0]


@lru_cache(maxsize=4)
def _loaded(
    weights: str, kind: str, sha256: str | None, device: str, model: str | None
) -> Configured:
    from tomolearn.training import load

    module: Configured = load(weights, device=device, kind=kind, model=model)  # type: ignore[call-overload]
    found = (module.card or {}).get("sha256")
    if found != sha256:
        raise _changed(weights, sha256, found)
    return module


def _changed(weights: str, expected: object, found: object) -> WeightsChangedError:
    return WeightsChangedError(
        f"{weights}: expected weights with SHA-256 {str(expected)[:12]}..., got "
        f"{str(found)[:12]}...; they have changed since the method was made"
    )
