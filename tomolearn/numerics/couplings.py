"""Additive couplings: layers whose inputs are computed from their outputs in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import is_transformed
from tomolearn.numerics.once import refused

Change = Callable[
    [Sequence[torch.Tensor], Sequence[torch.Tensor], Mapping[str, torch.Tensor]], torch.Tensor
]


_ONCE = (
    "couplings: their gradients cannot be differentiated again, since activations are computed "
    "from outputs; with recompute_activations = False, which keeps them, they can"
)
_BACKWARDS = (
    "couplings: they have derivatives by torch.autograd in reverse only, since activations are "
    "computed from outputs; with recompute_activations = False, which keeps them, they have others"
)


@dataclass(frozen=True)
class Coupling:
    """A step ``state[target] += change(state, given, weights)`` that can be taken back.

    It can be, since the change does not depend on the part of the state that it is added to
    (Gomez et al., "The reversible residual network", NeurIPS 2017, arXiv:1707.04585).

    Parameters
    ----------
    target : int
        Which part of the state is changed; what `change` finds in its place is None.
    change : callable
        Gets the state, what is given to all couplings, and the weights by name.
    weights : mapping of str to torch.Tensor
        Of this coupling.
    """

    target: int
    change: Change
    weights: Mapping[str, torch.Tensor]

    def evaluate(
        self,
        state: Sequence[torch.Tensor],
        given: Sequence[torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return the change."""
        others: list[Any] = list(state)
        others[self.target] = None
        return self.change(others, given, weights)


def run_couplings(
    couplings: Sequence[Coupling],
    state: Sequence[torch.Tensor],
    given: Sequence[torch.Tensor],
    *,
    recompute: bool = True,
) -> tuple[torch.Tensor, ...]:
    """Return the state after all couplings.

    Parameters
    ----------
    couplings : sequence of Coupling
        In the order in which they are evaluated.
    state, given : sequence of torch.Tensor
        What they change, and what they all see.
    recompute : bool
        Let the backward pass take the couplings back one by one, and keep the activations of one
        of them at a time. The memory then does not grow with their number; derivatives are the
        same up to rounding, and are had once, in reverse. Otherwise, all activations are kept.

    Raises
    ------
    ValueError
        If activations are recomputed, and `torch.func` or forward mode are used, or gradients are
        differentiated again.
    """
    if not (recompute and couplings and torch.is_grad_enabled()):
        state = list(state)
        for one in couplings:
            state[one.target] = state[one.target] + one.evaluate(state, given, one.weights)
        return tuple(state)
    weights = [tensor for one in couplings for tensor in one.weights.values()]
    if any(is_transformed(tensor) for tensor in (*state, *given, *weights)):
        raise TomolearnError(_BACKWARDS)
    found: tuple[torch.Tensor, ...] = _Recomputed.apply(
        tuple(couplings), len(state), *state, *given, *weights
    )
    return found


class _Recomputed(torch.autograd.Function):
    """All couplings, of which the last state is all that is kept.

    Whatever outlives a coupling is allocated before the first one, and changed in place: allocated
    in between, it would lie in the gaps that activations leave, which then were too small for those
    of the next coupling, and the process would grow with each.
    """

    @staticmethod
    def forward(
        ctx: Any, couplings: tuple[Coupling, ...], n_state: int, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        n_weights = sum(len(one.weights) for one in couplings)
        given = tensors[n_state : len(tensors) - n_weights]
        state = [part.clone() for part in tensors[:n_state]]
        for one in couplings:
            state[one.target] += one.evaluate(state, given, one.weights)
        ctx.couplings, ctx.n_state = couplings, n_state
        ctx.device = tensors[0].device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device), torch.get_autocast_dtype(ctx.device)
        ctx.save_for_backward(*state, *tensors[n_state:])
        return tuple(state)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        couplings: tuple[Coupling, ...] = ctx.couplings
        saved, n = ctx.saved_tensors, ctx.n_state
        with torch.no_grad():
            state = [part.clone() for part in saved[:n]]
            slopes = [part.clone() for part in gradients]
            slopes += [torch.zeros_like(part) for part in saved[n:]]
        last, (enabled, dtype) = len(saved), ctx.autocast
        n_given = last - n - sum(len(one.weights) for one in couplings)
        for one in reversed(couplings):
            first = last - len(one.weights)
            with torch.enable_grad(), torch.autocast(ctx.device, dtype=dtype, enabled=enabled):
                parts = (*state, *saved[n : n + n_given], *saved[first:last])
                leaves = [part.detach().requires_grad_() for part in parts]
                weights = dict(zip(one.weights, leaves[n + n_given :], strict=True))
                change = one.evaluate(leaves[:n], leaves[n : n + n_given], weights)
            slope = slopes[one.target].to(change.dtype)
            found = torch.autograd.grad(change, leaves, slope, allow_unused=True)
            places = (*range(n + n_given), *range(first, last))
            with torch.no_grad():
                for place, part in zip(places, found, strict=True):
                    if part is not None:
                        slopes[place] += part
                state[one.target] -= change
            last = first
        if torch.is_grad_enabled():  # somebody wants to differentiate them
            value = saved[couplings[-1].target]
            slopes = [refused(one, value, _ONCE) for one in slopes]
        return None, None, *slopes
