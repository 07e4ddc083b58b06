"""Deep ensembles: several methods whose images are samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tomolearn._core.calls import split_list
from tomolearn._core.errors import TomolearnError
from tomolearn.catalogue.from_weights import FromWeights
from tomolearn.catalogue.names import get_method
from tomolearn.methods import Method, Posterior, SamplingMethod, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class Ensemble(SamplingMethod):
    """Deep ensemble: the mean of several methods' images, and their spread.

    As in [1]_, networks that were trained from different random numbers, or are of different
    kinds, agree where the data and what they learned say enough. Their spread is no standard
    deviation of a posterior in any strict sense: it is a score, and
    `evaluation.conformal_calibration` makes a half-width of it.

    Parameters
    ----------
    members : str or sequence of str
        Names of methods or weights, two or more; as a string in brackets with commas between:
        ``"[lpd-ellipses,lgd-ellipses]"``.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive
       uncertainty estimation using deep ensembles", NeurIPS 2017, arXiv:1612.01474

    Examples
    --------
    >>> posterior = Ensemble(members=("lpd-ellipses", "lgd-ellipses")).sample(y, A)
    >>> posterior.mean, posterior.standard_deviation, posterior.residuals
    """

    name: ClassVar[str] = "ensemble"
    members: str | Sequence[str] = setting(help="methods or weights, [first,second,...]")
    methods: tuple[Method, ...] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = _names(self.members)
        if len(names) < 2 or not all(names):
            raise TomolearnError(
                f"members: expected two methods or more, [first,second,...], got {self.members!r}"
            )
        object.__setattr__(self, "members", f"[{','.join(names)}]")
        super().__post_init__()
        if self.methods is None:
            object.__setattr__(self, "methods", tuple(get_method(name) for name in names))

    @property
    def sha256(self) -> str:
        """Digest of what the members are, the content of weights included."""
        text = json.dumps([one.to_dict() for one in self.methods or ()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON."""
        return {"name": self.name, "members": self.members}

    def informed(self, noise: Any) -> Self:
        """Return the ensemble with members that know what an acquisition's noise tells them."""
        return self._changed(lambda one: one.informed(noise))

    def used_on(self, **known: Any) -> Self:
        """Return the ensemble with weights that know what else is known of their use."""
        return self._changed(
            lambda one: one.used_on(**known) if isinstance(one, FromWeights) else one
        )

    def prepare(self) -> None:
        """Load the weights of the members."""
        for one in self.methods or ():
            one.prepare()

    def sample(
        self, sinogram: torch.Tensor, operator: LinearOperator, **keywords: Any
    ) -> Posterior:
        """Return one image of each member as samples.

        Raises
        ------
        TypeError, ValueError
            As the members do, or if one takes no such keyword.
        DivergenceError
            If an image is not finite.
        """
        import torch

        images = [one(sinogram, operator, **keywords) for one in self.methods or ()]
        return Posterior.of(torch.stack(images), sinogram, operator)

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keywords that tell all members what each measured value counts."""
        found = [one.weighting(weights) for one in self.methods or ()]
        if any(set(one) != set(found[0]) for one in found):
            raise TomolearnError(
                "weights: expected members that take them alike, got "
                f"{', '.join(' and '.join(one) or 'none' for one in found)}"
            )
        return found[0]

    def _changed(self, change: Callable[[Method], Method]) -> Self:
        return replace(self, methods=tuple(change(one) for one in self.methods or ()))


def _names(members: Any) -> list[str]:
    if not isinstance(members, str):
        return [str(one).strip() for one in members]
    text = members.strip()
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return split_list(inner)
