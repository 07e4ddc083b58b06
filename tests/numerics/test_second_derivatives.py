"""Derivatives of derivatives: right, or refused in words, for every function that has its own."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders import dense_operator

import tomolearn
from tomolearn.numerics import Backward, equilibrium, gaussian_sum, once
from tomolearn.numerics.couplings import Coupling, run_couplings
from tomolearn.numerics.gaussian_sums import _Moments
from tomolearn.priors.spectral import SpectralConv2d

DOUBLE = torch.float64
Case = tuple[Callable[..., torch.Tensor], list[tuple[int, ...]], str | None]


def fixed_point(backward: Backward) -> Case:
    def layer(W: torch.Tensor, V: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return equilibrium(
            lambda u, y: torch.tanh(0.2 * u @ W.T + y @ V.T),
            y.new_zeros(2, 3),
            y,
            solver="picard",
            tolerance=1e-14,
            max_iterations=200,
            backward=backward,
        ).state

    refused = None if backward.mode == "unrolled" else f"mode '{backward.mode}' cannot be"
    return layer, [(3, 3), (3, 2), (2, 2)], refused


def kernel_of_norm_one() -> Case:
    conv = SpectralConv2d(2, 3).double()

    def kernel(weight: torch.Tensor) -> torch.Tensor:
        del conv.weight
        conv.weight = weight
        return conv.normalised((4, 5))

    return kernel, [(3, 2, 3, 3)], "kernel's norm can be differentiated once"


def recomputed(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    couplings = [
        Coupling(0, lambda state, given, own: torch.tanh(state[1] * own["w"]), {"w": w}),
        Coupling(1, lambda state, given, own: state[0].sin(), {}),
    ]
    return run_couplings(couplings, [x, y], [])[1]


# name: the function, shapes of its arguments, and the message if its gradients have no derivatives
CASES: dict[str, Case] = {
    "GaussianSum": (
        lambda z, w: gaussian_sum(z, w, -1.0, 0.2),
        [(2, 3, 2, 2), (3, 12)],
        None,
    ),
    "_Moments": (
        lambda z, values: _Moments.apply(z, values, 12, -1.0, 0.2),
        [(2, 3, 2, 2), (2, 3, 2, 2)],
        None,
    ),
    "_Apply": (dense_operator(), [(2, 3, 2)], None),
    "_Implicit": fixed_point(Backward(tolerance=1e-13, max_iterations=200)),
    "_Recomputed": (recomputed, [(3,), (3,), (3,)], "couplings: their gradients cannot be"),
    "_Once": (lambda x: once(x.sin(), "not twice"), [(3,)], "not twice"),
    "jfb": fixed_point(Backward("jfb")),
    "phantom": fixed_point(Backward("phantom")),
    "unrolled": fixed_point(Backward("unrolled")),
    "SpectralConv2d": kernel_of_norm_one(),
}
REVERSE_ONLY = {"_Implicit", "_Recomputed"}
# tested elsewhere, or a part of one of these
OTHERS = {"_ApplyInTransforms", "_ApplyInGraphs", "_Compiled", "_Refused"}
each = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def problem(name, rng):
    function, shapes, refused = CASES[name]
    at = [0.5 * torch.randn(s, dtype=DOUBLE, generator=rng) for s in shapes]
    along = [torch.randn(s, dtype=DOUBLE, generator=rng) for s in shapes]
    return function, at, along, refused


def slope(function, at, along, graph=False):
    """Return the derivative of a nonlinear functional in a direction, and where it was taken."""
    at = [x.detach().requires_grad_() for x in at]
    loss = function(*at).pow(3).sum()
    gradients = torch.autograd.grad(loss, at, create_graph=graph)
    return at, sum((g * v).sum() for g, v in zip(gradients, along, strict=True))


def test_the_list_has_every_function_with_derivatives_of_its_own():
    found = set()
    for path in Path(tomolearn.__file__).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = [node.id for node in nodes if isinstance(node, ast.Name)]
        assert not {"once_differentiable", "register_hook"}.intersection(names), path
        found |= {
            node.name
            for node in nodes
            if isinstance(node, ast.ClassDef)
            and any(ast.unparse(base).endswith("Function") for base in node.bases)
        }
    assert found >= OTHERS
    assert found <= CASES.keys() | OTHERS


@each
def test_by_inputs(name, problem):
    function, at, along, refused = problem
    leaves, first = slope(function, at, along, graph=True)
    if refused:
        for leaf in leaves:
            with pytest.raises(ValueError, match=refused):
                torch.autograd.grad(first, leaf, retain_graph=True)
        return
    second = torch.autograd.grad(first, leaves)
    found = sum(float((g * v).sum()) for g, v in zip(second, along, strict=True))
    assert found == pytest.approx(differences(function, at, along), rel=1e-6)


@each
def test_by_backward(name, problem):
    function, at, along, refused = problem
    leaves = [x.detach().requires_grad_() for x in at]
    function(*leaves).pow(3).sum().backward(create_graph=True)
    first = [x.grad for x in leaves]
    for leaf in leaves:
        leaf.grad = None
    penalty = sum((g * v).sum() for g, v in zip(first, along, strict=True))
    if refused:
        with pytest.raises(ValueError, match=refused):
            penalty.backward()
        return
    penalty.backward()
    found = sum(float((x.grad * v).sum()) for x, v in zip(leaves, along, strict=True))
    assert found == pytest.approx(differences(function, at, along), rel=1e-6)


@each
def test_of_a_linear_loss(name, problem):
    # the incoming gradient is constant: torch's own guard, `once_differentiable`, sleeps then
    function, at, _, refused = problem
    leaves = [x.detach().requires_grad_() for x in at]
    gradients = torch.autograd.grad(function(*leaves).sum(), leaves, create_graph=True)
    penalty = sum(g.square().sum() for g in gradients)
    if refused:
        with pytest.raises(ValueError, match=refused):
            torch.autograd.grad(penalty, leaves)
    elif penalty.requires_grad:  # not that of a linear map
        assert torch.autograd.gradgradcheck(function, leaves)


@each
def test_forwards(name, problem):
    function, at, along, _ = problem
    if name in REVERSE_ONLY:
        with pytest.raises(ValueError, match=r"derivatives by torch\.autograd in reverse only"):
            torch.func.jvp(function, tuple(at), tuple(along))
        return
    _, found = torch.func.jvp(function, tuple(at), tuple(along))
    expected = forwards_by_backwards(function, at, along)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@each
def test_forwards_over_backwards(name, problem):
    function, at, along, refused = problem
    if name in REVERSE_ONLY:
        with pytest.raises(
            ValueError, match=r"(have|has) derivatives by torch\.autograd in reverse"
        ):
            torch.func.grad(lambda *x: function(*x).pow(3).sum())(*at)
        return

    def gradients(*x):
        return torch.func.grad(lambda *x: function(*x).pow(3).sum(), tuple(range(len(x))))(*x)

    if refused:
        with pytest.raises(ValueError, match=refused):
            torch.func.jvp(gradients, tuple(at), tuple(along))
        return
    _, second = torch.func.jvp(gradients, tuple(at), tuple(along))
    found = sum(float((g * v).sum()) for g, v in zip(second, along, strict=True))
    assert found == pytest.approx(differences(function, at, along), rel=1e-6)


def differences(function, at, along, step=1e-5):
    """Return the second derivative in a direction by central differences of first ones."""
    moved = [[x + s * step * v for x, v in zip(at, along, strict=True)] for s in (1, -1)]
    upper, lower = (slope(function, x, along)[1] for x in moved)
    return float(upper - lower) / (2 * step)


def forwards_by_backwards(function, at, along):
    """Return the directional derivative of a function from its gradients."""
    leaves = [x.detach().requires_grad_() for x in at]
    value = function(*leaves)
    rows = []
    for one in torch.eye(value.numel(), dtype=DOUBLE).reshape(-1, *value.shape):
        gradients = torch.autograd.grad(value, leaves, one, retain_graph=True)
        rows.append(sum((g * v).sum() for g, v in zip(gradients, along, strict=True)))
    return torch.stack(rows).reshape(value.shape)


@pytest.mark.parametrize("in_dims", [(0, None), (None, 1), (1, 0)])
def test_sums_of_gaussians_are_vectorised(in_dims, rng):
    z = torch.randn(2, 3, 4, 5, dtype=DOUBLE, generator=rng)
    w = torch.randn(3, 12, dtype=DOUBLE, generator=rng)
    z = z if in_dims[0] is None else torch.stack([z, 2 * z], in_dims[0])
    w = w if in_dims[1] is None else torch.stack([w, -w], in_dims[1])

    def function(z, w):
        return gaussian_sum(z, w, -1.0, 0.2)

    def gradients(z, w):
        return torch.func.grad(lambda z, w: function(z, w).pow(3).sum(), (0, 1))(z, w)

    for f in (function, lambda z, w: gradients(z, w)[0], lambda z, w: gradients(z, w)[1]):
        each_alone = [
            f(
                z if in_dims[0] is None else z.select(in_dims[0], i),
                w if in_dims[1] is None else w.select(in_dims[1], i),
            )
            for i in range(2)
        ]
        torch.testing.assert_close(torch.vmap(f, in_dims)(z, w), torch.stack(each_alone))
