"""The diffusion prior: preconditioning, files, errors, and its objective, by their definitions."""

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.priors import DiffusionPrior, DRUNet
from tomolearn.training.objectives import make_objective

SMALL = {"channels": [3, 4], "patch": 2, "data_std": 0.2, "noise_levels": (0.01, 10.0)}


def small(**arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        found = DiffusionPrior(**SMALL | arguments).double().eval()
        for one in found.parameters():  # modulations begin with zero
            one.data = torch.randn_like(one) * 0.1
        return found


@pytest.mark.parametrize("shape", [(11,), (8, 8), (7, 13), (1, 5), (5, 6, 9)])
def test_images_of_any_size_and_number_of_axes(shape, rng):
    denoise = small(ndim=len(shape))
    noisy = torch.randn(2, 3, *shape, generator=rng, dtype=torch.float64)
    sigma = torch.tensor([[0.01, 0.02, 0.1], [10.0, 1.0, 0.3]], dtype=torch.float64)
    clean = denoise(noisy, sigma)
    assert clean.shape == noisy.shape
    torch.testing.assert_close(clean[1, 2], denoise(noisy[1, 2], sigma[1, 2]))
    assert not torch.allclose(denoise(noisy, 0.3), denoise(noisy, 0.31))


def test_inputs_and_targets_of_the_network_have_unit_variance(rng):
    prior, seen = small(), []
    prior.network.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    x = 0.2 * torch.randn(4, 64, 64, generator=rng, dtype=torch.float64)
    for sigma in (0.01, 0.2, 10.0):
        noisy = x + sigma * torch.randn(x.shape, generator=rng, dtype=torch.float64)
        clean = prior(noisy, sigma)
        given, found = seen.pop()
        assert float(given.std()) == pytest.approx(1, rel=0.05)  # of 16,384 values
        kept = 0.2**2 / (0.2**2 + sigma**2)
        scale = sigma * 0.2 / (0.2**2 + sigma**2) ** 0.5
        torch.testing.assert_close(clean, kept * noisy + scale * found.reshape(x.shape))
        # what it would have to return for the true image
        assert float(((x - kept * noisy) / scale).std()) == pytest.approx(1, rel=0.05)


def test_saved_priors_are_the_same_again(tmp_path, rng):
    prior = small().float()
    tl.save(prior, tmp_path / "net")
    found = tl.priors.load(tmp_path / "net")
    assert dict(found.arguments) == dict(prior.arguments)
    noisy = torch.randn(2, 9, 8, generator=rng)
    assert torch.equal(found(noisy, 0.5), prior(noisy, 0.5))
    with pytest.raises(ValueError, match=r"sigma: expected a noise level in \[0.01, 10\]"):
        found(noisy, 11.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 4}, "channels: expected a sequence of numbers"),
        ({"patch": 0}, "patch: expected an integer >= 1"),
        ({"data_std": 0.0}, "data_std: expected a positive number"),
        ({"noise_levels": [0.0, 1.0]}, "noise_levels: expected positive ones, got 0"),
        ({"ndim": 4}, "ndim: expected an integer"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_objective_is_score_matching_at_levels_of_the_prior(rng):
    prior, seen = small(), []
    objective = make_objective("diffusion", {"median": 0.1, "spread": 2.0})
    objective.check(prior)
    image = torch.randn(400, 1, 4, 4, generator=rng, dtype=torch.float64)
    prior.register_forward_hook(lambda _, given, found: seen.append((*given, found)))
    loss = objective.loss(prior, (image, image), None, np.random.default_rng(0))
    noisy, sigma, clean = seen.pop()
    s = sigma.reshape(-1, 1, 1, 1)
    # the score of noisy images around the true one, and that of the prior, times s^2
    score, true = (clean - noisy) / s**2, (image - noisy) / s**2
    weight = s**4 * (1 / s**2 + 1 / 0.2**2)
    torch.testing.assert_close(loss, (weight * (score - true) ** 2).mean())
    assert 0.01 <= float(sigma.min()) <= float(sigma.max()) <= 10.0
    assert float(sigma.log().median()) == pytest.approx(np.log(0.1), abs=0.4)
    assert float(((noisy - image) / s).std()) == pytest.approx(1, rel=0.05)
    estimate = objective.estimate(prior, (image, image), None, np.random.default_rng(0))
    torch.testing.assert_close(estimate, clean)


def test_what_the_objective_refuses():
    with pytest.raises(ValueError, match="model: expected a diffusion prior, got DRUNet"):
        make_objective("diffusion", {}).check(DRUNet(channels=[2]))
    with pytest.raises(ValueError, match=r"median: .* \[0.01, 10\]"):
        make_objective("diffusion", {"median": 20.0}).check(small())
    with pytest.raises(ValueError, match="spread: expected a positive number"):
        make_objective("diffusion", {"spread": 0.0})
