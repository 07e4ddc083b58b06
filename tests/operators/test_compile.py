"""Compiled code and torch's transforms: each first thing, before anything is in a cache."""

import gc
import subprocess
import sys

import pytest
import torch
from builders import PLANE, SPACE, dense_operator

import tomolearn as tl
from tomolearn.methods.analytic.filtered_backprojection import _as_operator
from tomolearn.operators import RayTransform

FRESH = """
import torch
import tomolearn as tl

torch.set_num_threads(1)

def transform(size):
    grid = tl.Grid((size, size))
    return tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 5))

def check(name, make, transforms, size):
    A = transform(size)
    function, leading = make(A)
    y = torch.rand(2, *leading, *A.range_shape)

    def gradient(y):
        return torch.func.grad(lambda y: function(y).square().sum())(y)

    def backward(y):
        y = y.clone().requires_grad_()
        return torch.autograd.grad(function(y).square().sum(), y)[0]

    variants = {
        "call": function,
        "grad": gradient,
        "vmap": torch.vmap(function),
        "hessian": lambda y: torch.func.jvp(gradient, (y,), (y,))[1],
        "vmap of grad": torch.vmap(gradient),
    }
    found = {}
    for variant in transforms:
        torch._dynamo.reset()
        compiled = torch.compile(variants[variant], fullgraph=True, backend="aot_eager")
        if variant == "call":
            x = y.clone().requires_grad_()
            value = compiled(x)
            found["backward"] = torch.autograd.grad(value.square().sum(), x)[0]
            found["call"] = value.detach()
        else:
            found[variant] = compiled(y)
    variants["backward"] = backward
    for variant, value in found.items():
        expected = variants[variant](y)
        torch.testing.assert_close(
            value, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()), msg=lambda text:
            f"{name}, {variant}: {text}"
        )

every = ("call", "grad", "vmap", "vmap of grad")
check("fbp", lambda A: (lambda y: tl.fbp(y, A, filter="hann"), (1,)), every, 8)
check("adjoint", lambda A: (A.T, ()), every, 9)
check("back-projection", lambda A: (A.backproject, ()), ("call", "grad"), 10)
check("norm", lambda A: (lambda y: A.T(y) / A.norm(), ()), ("call",), 11)
check("composed", lambda A: ((2 * (A.T @ A) @ A.T), ()), ("call",), 12)
network = tl.models.build_model("fbp-unet", {"channels": [4], "normalisation": "none"})
check("network", lambda A: (lambda y: network(y, A), (1,)), ("call",), 8)
"""


@pytest.mark.slow
def test_compiled_first_thing_in_a_fresh_process():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FRESH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_compiled_graphs_keep_their_operators():
    compiled = torch.compile(lambda x, A: A(x).square().sum(), backend="aot_eager")
    x = torch.rand(12, 12, requires_grad=True)
    for angle in (0.1, 0.2):
        scan = tl.ParallelBeam(7, 17, 1.0, start_angle=angle)
        loss = compiled(x, RayTransform(PLANE["parallel_even"][0], scan))
        gc.collect()
        (gradient,) = torch.autograd.grad(loss, x)
        A = RayTransform(PLANE["parallel_even"][0], scan)
        torch.testing.assert_close(gradient, 2 * A.T(A(x.detach())))


@pytest.mark.parametrize("batched", ["jacobian", "is_grads_batched"])
@pytest.mark.parametrize("name", ["dense", "rays", "fbp"])
def test_batches_of_gradients(name, batched, rng):
    A = RayTransform(*PLANE["parallel_one_row"])
    function, shape = {
        "dense": (dense_operator(), (3, 2)),
        "rays": (A, A.domain_shape),
        "fbp": (lambda y: tl.fbp(y, A), A.range_shape),
    }[name]
    x = torch.rand(shape, generator=rng, requires_grad=True)
    value = function(x)
    if batched == "jacobian":
        found = torch.autograd.functional.jacobian(function, x, vectorize=True)
    else:
        eye = torch.eye(value.numel()).reshape(-1, *value.shape)
        (found,) = torch.autograd.grad(value, x, eye, is_grads_batched=True, retain_graph=True)
    expected = torch.autograd.functional.jacobian(function, x)
    torch.testing.assert_close(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("truncation", ["zero", "extend"])
@pytest.mark.parametrize("oversampling", [1, 2, 3])
@pytest.mark.parametrize(
    "name", ["parallel_even", "parallel_odd", "parallel_shifted_detector", "fan_even", "fan_curved"]
)
def test_adjoint_of_filtered_back_projection(name, oversampling, truncation, rng):
    A = RayTransform(*PLANE[name])
    settings = {"frequency_scaling": 0.9, "oversampling": oversampling, "truncation": truncation}
    operator = _as_operator(A, f"hann 0.9 {oversampling} {truncation}")
    y = torch.rand(2, *A.range_shape, dtype=torch.float64, generator=rng)
    x = torch.rand(2, *A.domain_shape, dtype=torch.float64, generator=rng)
    value = operator(y)
    expected = tl.fbp(y, A, filter="hann", **settings)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close((value * x).sum(), (y * operator.adjoint(x)).sum())


@pytest.mark.parametrize("name", ["parallel_even", "fan_even"])
def test_fbp_is_vectorised(name, rng):
    A = RayTransform(*PLANE[name])
    y = torch.rand(3, 2, *A.range_shape, generator=rng)
    torch.testing.assert_close(torch.vmap(lambda y: tl.fbp(y, A))(y), tl.fbp(y, A))
    bad = y.clone()
    bad[1, 0, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="expected finite values"):
        torch.vmap(lambda y: tl.fbp(y, A))(bad)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda A, x: A(x.to_sparse()), r"x: expected a dense tensor, got torch\.sparse_coo"),
        (lambda A, x: A(x.to("meta")), "x: expected a tensor with values, got one on device meta"),
        (lambda A, x: A @ x, r"A @ x: .* got Tensor; A\(x\) applies A"),
        (lambda A, x: A @ x.numpy(), r"A @ x: .* got ndarray; A\(x\) applies A"),
        (lambda A, x: A * x, r"A \* x: .* got Tensor; A\(x\) applies A"),
        (lambda A, x: A.T.adjoint(x.to_sparse()), "expected a dense tensor"),
    ],
)
def test_what_operators_do_not_take(act, message):
    with pytest.raises(TypeError, match=message):
        act(dense_operator(), torch.ones(3, 2))


def test_norm_is_the_same_within_transforms():
    def scaled(x):
        A = RayTransform(*PLANE["parallel_even"])
        return A(x) / A.norm()

    x = torch.rand(12, 12)
    gradient = torch.func.grad(lambda x: scaled(x).square().sum())(x)
    A = RayTransform(*PLANE["parallel_even"])
    torch.testing.assert_close(gradient, 2 * A.T(A(x)) / A.norm() ** 2)


@pytest.mark.parametrize("name", sorted(SPACE))
def test_operators_in_space_are_vectorised(name, rng):
    A = RayTransform.derived(*SPACE[name], backend="joseph")
    x = torch.rand(2, *A.domain_shape, generator=rng)
    torch.testing.assert_close(torch.vmap(A)(x), A(x))
