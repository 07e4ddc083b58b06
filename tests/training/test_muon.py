"""The optimiser that makes its steps orthogonal."""

import math

import pytest
import torch

from tomolearn.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(5, 8, 20), (3, 20, 8), (2, 6, 6)])
def test_nearly_orthogonal_with_the_singular_vectors_of_the_input(shape, rng):
    matrices = torch.randn(shape, generator=rng)
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    exact = left @ right
    found = orthogonal(matrices).double()
    singular = torch.linalg.svdvals(found)
    # the quintic's fixed interval, for values that were not tiny
    large = values / torch.linalg.matrix_norm(matrices.double())[:, None] > 0.05
    assert singular[large].min() > 0.6
    assert singular[large].max() < 1.3
    cosine = (found * exact).sum((1, 2)) / (found.norm(dim=(1, 2)) * exact.norm(dim=(1, 2)))
    assert cosine.min() > 0.97


def test_first_step_has_the_size_of_adams(rng):
    kernel = torch.nn.Parameter(torch.randn(16, 8, 3, 3, generator=rng))
    before = kernel.detach().clone()
    kernel.grad = torch.randn(kernel.shape, generator=rng)
    Muon([kernel], lr=0.1).step()
    # Adam's usual root mean square is 0.2 to 0.4 learning rates
    assert (kernel - before).square().mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.15)


def test_step_does_not_depend_on_the_gradients_scale(rng):
    gradient = torch.randn(6, 4, 3, 3, generator=rng)
    steps = []
    for scale in (1.0, 1e-6):
        kernel = torch.nn.Parameter(torch.zeros(6, 4, 3, 3))
        kernel.grad = scale * gradient
        Muon([kernel], lr=0.1).step()
        steps.append(kernel.detach())
    torch.testing.assert_close(*steps, rtol=1e-3, atol=1e-6)


def test_vectors_follow_adam(rng):
    start = torch.randn(7, generator=rng)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [
        Muon([ours], lr=1.0, vector_lr=0.01, betas=(0.8, 0.95)),
        torch.optim.Adam([theirs], lr=0.01, betas=(0.8, 0.95)),
    ]
    for _ in range(5):
        gradient = torch.randn(7, generator=rng)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_equal_shapes_do_not_mix(rng):
    kernels = [torch.nn.Parameter(torch.zeros(4, 2, 3, 3)) for _ in range(2)]
    gradients = [torch.randn(4, 2, 3, 3, generator=rng) for _ in range(2)]
    for kernel, gradient in zip(kernels, gradients, strict=True):
        kernel.grad = gradient
    Muon(kernels, lr=0.1).step()
    for kernel, gradient in zip(kernels, gradients, strict=True):
        alone = torch.nn.Parameter(torch.zeros(4, 2, 3, 3))
        alone.grad = gradient
        Muon([alone], lr=0.1).step()
        torch.testing.assert_close(kernel, alone)


def test_a_stretched_quadratic_is_minimised(rng):
    # singular values of the Hessian differ by 1e4: plain gradient descent needs that many steps
    scale = torch.logspace(0, -2, 8)[:, None]
    target = torch.randn(8, 12, generator=rng)
    weights = torch.nn.Parameter(torch.zeros(8, 12))
    n = 300
    optimizer = Muon([weights], lr=0.3)
    for step in range(n):
        optimizer.param_groups[0]["lr"] = 0.3 * 0.5 * (1 + math.cos(math.pi * step / n))
        optimizer.zero_grad()
        (scale * (weights - target)).square().sum().backward()
        optimizer.step()
    assert (weights - target).norm() < 0.05 * target.norm()


def test_state_survives_saving(rng):
    def run(n, saved=None):
        generator = torch.Generator().manual_seed(3)
        kernel = torch.nn.Parameter(torch.ones(4, 2, 3, 3))
        bias = torch.nn.Parameter(torch.ones(4))
        optimizer = Muon([kernel, bias], lr=0.1)
        state = None
        for step in range(n):
            if step == 2 and saved is not None:
                optimizer.load_state_dict(saved)
            kernel.grad = torch.randn(4, 2, 3, 3, generator=generator)
            bias.grad = torch.randn(4, generator=generator)
            optimizer.step()
            if step == 1:
                state = optimizer.state_dict()
        return kernel, bias, state

    import copy

    kernel, bias, _ = run(5)
    state = copy.deepcopy(run(2)[2])
    again, again_bias, _ = run(5, state)
    assert torch.equal(kernel, again)
    assert torch.equal(bias, again_bias)
