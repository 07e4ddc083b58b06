"""Metrics against their definitions, scikit-image and numpy, under every convention."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tomolearn.metrics import (
    CONVENTIONS,
    MetricConvention,
    Summary,
    evaluate,
    psnr,
    regressed_snr,
    ssim,
)


@pytest.fixture
def pair(rng):
    """Six noisy images of different range, partly outside [0, 1]."""
    reference = torch.rand((2, 3, 20, 31), generator=rng) * torch.arange(1.0, 4)[:, None, None] / 2
    image = reference + 0.1 * torch.randn(reference.shape, generator=rng)
    return image - 0.2, reference - 0.2


def ssim_by_definition(image, reference, data_range, window):
    """Mean over all windows inside the image, sample covariances."""
    views = [
        np.lib.stride_tricks.sliding_window_view(a.double().numpy(), (window, window)).reshape(
            -1, window**2
        )
        for a in (image, reference)
    ]
    x, y = (view - view.mean(axis=1, keepdims=True) for view in views)
    mx, my = (view.mean(axis=1) for view in views)
    vx, vy, cov = ((a * b).sum(axis=1) / (window**2 - 1) for a, b in ((x, x), (y, y), (x, y)))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    local = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return local.mean()


def peak_of(reference, data_range):
    if data_range == "reference":
        return float(reference.double().max() - reference.double().min())
    return float(reference.max()) if data_range == "reference-max" else data_range


@pytest.mark.parametrize("data_range", [1.0, 2, np.float32(0.5), "reference", "reference-max"])
def test_psnr_is_scikit_images_for_each_image(pair, data_range):
    image, reference = pair
    values = psnr(image, reference, data_range=data_range)
    assert values.shape == (2, 3)
    assert values.dtype == torch.float64
    for index in np.ndindex(2, 3):
        x, y = image[index].double().numpy(), reference[index].double().numpy()
        theirs = peak_signal_noise_ratio(y, x, data_range=peak_of(reference[index], data_range))
        assert values[index].item() == pytest.approx(theirs, rel=1e-12)


def test_psnr_of_a_constant_error_is_known():
    reference = torch.zeros(1, 4, 5)
    assert psnr(reference + 0.1, reference, data_range=1).item() == pytest.approx(20, abs=1e-6)
    assert psnr(reference + 0.1, reference, data_range=10).item() == pytest.approx(40, abs=1e-6)
    assert psnr(reference, reference, data_range=1).item() == float("inf")


@pytest.mark.parametrize("window", [7, 3, 11])
@pytest.mark.parametrize("data_range", [1.0, 2, "reference", "reference-max"])
def test_ssim_is_its_definition_for_each_image(pair, data_range, window):
    image, reference = pair
    values = ssim(image, reference, data_range=data_range, window=window)
    assert values.shape == (2, 3)
    assert values.dtype == torch.float64
    for index in np.ndindex(2, 3):
        peak = peak_of(reference[index], data_range)
        expected = ssim_by_definition(image[index], reference[index], peak, window)
        # Variances as differences of squares lose a few digits of 16.
        assert values[index].item() == pytest.approx(expected, rel=1e-10)


def test_ssim_is_scikit_images_default(pair):
    image, reference = (tensor[1, 2].double() for tensor in pair)
    theirs = structural_similarity(image.numpy(), reference.numpy(), data_range=1.3)
    assert ssim(image, reference, data_range=1.3).item() == pytest.approx(theirs, rel=1e-12)
    assert ssim(image, reference, data_range=1.3).shape == ()


def test_gaussian_ssim_is_the_publications(pair):
    """Weighted means over 11 x 11 pixels, where they lie inside the image."""
    image, reference = (tensor[1, 2].double().numpy() for tensor in pair)
    x = np.arange(-5, 6)
    line = np.exp(-(x**2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2

    def mean(values):
        windows = np.lib.stride_tricks.sliding_window_view(values, (11, 11))
        return (windows * kernel).sum((-1, -2))

    mx, my = mean(image), mean(reference)
    vx, vy = mean(image**2) - mx**2, mean(reference**2) - my**2
    cov = mean(image * reference) - mx * my
    c1, c2 = (0.01 * 1.3) ** 2, (0.03 * 1.3) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    found = ssim(pair[0][1, 2], pair[1][1, 2], data_range=1.3, window="gaussian").item()
    assert found == pytest.approx(expected.mean(), rel=1e-9)
    both = evaluate(*pair, CONVENTIONS["adler"], window="gaussian").ssim.values
    torch.testing.assert_close(both, ssim(*pair, data_range=2.0, window="gaussian"))
    with pytest.raises(ValueError, match="window: expected one of gaussian, got 'hann'"):
        ssim(*pair, data_range=1.0, window="hann")


def test_ssim_of_equal_images_is_one_and_grows_with_the_range(pair):
    image, reference = pair
    assert (ssim(reference, reference, data_range=1) == 1).all()
    assert (ssim(image, reference, data_range=2) > ssim(image, reference, data_range=1)).all()


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_half_precision_images_are_measured_in_double(pair, metric):
    image, reference = (tensor.to(torch.bfloat16) for tensor in pair)
    values = metric(image, reference, data_range=1)
    torch.testing.assert_close(
        values, metric(image.double(), reference.double(), data_range=1), rtol=0, atol=0
    )


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_leave_their_input_and_its_graph_alone(pair, metric):
    image, reference = pair
    before = image.clone()
    values = metric(image.requires_grad_(), reference, data_range="reference")
    assert not values.requires_grad
    assert torch.equal(image.detach(), before)


@pytest.mark.parametrize("data_range", [1.5, "reference"])
def test_volumes_are_measured_as_one_image(rng, data_range):
    reference = torch.rand(2, 9, 8, 10, generator=rng)
    image = reference + 0.1 * torch.randn(reference.shape, generator=rng)
    for k in range(2):
        x, y = image[k].double().numpy(), reference[k].double().numpy()
        peak = peak_of(reference[k], data_range)
        options = {"data_range": data_range, "ndim": 3}
        assert psnr(image, reference, **options)[k].item() == pytest.approx(
            peak_signal_noise_ratio(y, x, data_range=peak), rel=1e-12
        )
        assert ssim(image, reference, **options)[k].item() == pytest.approx(
            structural_similarity(y, x, data_range=peak), rel=1e-12
        )
    # what has no neighbourhoods does not see how pixels are arranged
    snr = regressed_snr(image, reference, ndim=3)
    torch.testing.assert_close(snr, regressed_snr(image.flatten(1, 2), reference.flatten(1, 2)))
    found = evaluate(image, reference, "range-1", ndim=3)
    assert found.psnr.n == found.ssim.n == 2
    with pytest.raises(ValueError, match=r"3 spatial axes of at least 7 pixels each, .* \(2, 6, 8"):
        ssim(image[:, :6], reference[:, :6], data_range=1, ndim=3)


# What the publications say, once more: (PSNR range, SSIM range, clip, absolute values).
PUBLISHED = {
    "range-1": (1, 1, None, False),
    "adler": (1, 2, None, False),
    "dival": ("reference", "reference", None, False),
    "lodopab": ("reference", "reference", None, False),
    "lodopab-fr": (1, 1, None, False),
    "celledoni": ("reference-max", 2, None, False),
    "celledoni-code": ("reference-max", 2, None, True),
    "maximum": ("reference-max", "reference-max", None, False),
    "lunz": (1, 1, (0, 1), False),
}


def test_every_convention_is_listed_under_its_name():
    assert set(CONVENTIONS) == set(PUBLISHED)
    assert all(name == convention.name for name, convention in CONVENTIONS.items())
    with pytest.raises(TypeError):
        CONVENTIONS["range-1"] = CONVENTIONS["adler"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONVENTIONS["adler"].ssim_range = 1.0


def test_regressed_snr_is_that_of_the_least_squares_fit(pair):
    image, reference = pair
    image = 3 * image - 40
    values = regressed_snr(image, reference)
    assert values.shape == (2, 3)
    assert values.dtype == torch.float64
    for index in np.ndindex(2, 3):
        x, y = (tensor[index].double().numpy().ravel() for tensor in (image, reference))
        _, residual, _, _ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y)
        expected = 10 * np.log10((y**2).sum() / residual.item())
        assert values[index].item() == pytest.approx(expected, rel=1e-10)


def test_regressed_snr_of_a_constant_image_is_that_of_the_mean():
    reference = torch.tensor([[1.0, 3.0]])
    expected = 10 * np.log10(10 / 2)
    assert regressed_snr(torch.zeros(1, 2), reference).item() == pytest.approx(expected)
    assert regressed_snr(-2 * reference + 5, reference).item() > 300


def test_regressed_snr_needs_a_signal():
    with pytest.raises(ValueError, match="reference: expected no image of zeros only"):
        regressed_snr(IMAGE, IMAGE * torch.tensor([0.0, 1.0])[:, None, None])


@pytest.mark.parametrize("name", PUBLISHED)
def test_conventions_evaluate_as_published(pair, name):
    image, reference = pair
    psnr_range, ssim_range, clip, absolute = PUBLISHED[name]
    result = evaluate(image, reference, name)
    assert result.convention is CONVENTIONS[name]
    for index in np.ndindex(2, 3):
        x, y = image[index].double(), reference[index].double()
        if clip:
            x, y = x.clip(*clip), y.clip(*clip)
        if absolute:
            assert (x < 0).any()
            x, y = x.abs(), y.abs()
        mse = ((x - y) ** 2).mean().item()
        expected = 10 * np.log10(peak_of(y, psnr_range) ** 2 / mse)
        assert result.psnr.values[index].item() == pytest.approx(expected, rel=1e-12)
        expected = ssim_by_definition(x, y, peak_of(y, ssim_range), 7)
        assert result.ssim.values[index].item() == pytest.approx(expected, rel=1e-10)


def test_averages_are_over_all_images(pair):
    result = evaluate(*pair, "range-1")
    for summary in (result.psnr, result.ssim):
        assert summary.values.shape == (2, 3)
        assert summary.n == 6
        assert summary.mean == pytest.approx(np.mean(summary.values.numpy()))
        assert summary.std == pytest.approx(np.std(summary.values.numpy()))
    record = json.loads(json.dumps(result.to_dict()))
    assert record == {
        "convention": "range-1",
        "n": 6,
        "psnr_mean": result.psnr.mean,
        "psnr_std": result.psnr.std,
        "ssim_mean": result.ssim.mean,
        "ssim_std": result.ssim.std,
    }


def test_a_single_image_has_no_spread(pair):
    result = evaluate(pair[0][0, 0], pair[1][0, 0], "lodopab")
    assert (result.psnr.n, result.psnr.std) == (1, 0)
    assert result.psnr.values.shape == ()


def test_summaries_print_shortly():
    assert str(Summary(torch.tensor([30.0, 31.0]))) == "30.5 ± 0.5 (n = 2)"


def test_own_conventions_are_welcome(pair):
    own = MetricConvention("mine", psnr_range=3, ssim_range="reference-max", clip=(-1, 2))
    assert evaluate(*pair, own).to_dict()["convention"] == "mine"
    assert (own.psnr_range, own.clip) == (3.0, (-1.0, 2.0))


IMAGE = torch.rand(2, 8, 9, generator=torch.Generator().manual_seed(0))
INVALID = [
    (IMAGE.numpy(), IMAGE, TypeError, "image: expected a torch.Tensor, got ndarray"),
    (IMAGE, IMAGE.to(torch.complex64), TypeError, "reference: expected a real floating-point"),
    (IMAGE.int(), IMAGE.int(), TypeError, "image: expected a real floating-point .* torch.int32"),
    (IMAGE[0], IMAGE, ValueError, r"image: expected the shape .* \(2, 8, 9\), got \(8, 9\)"),
    (
        IMAGE[..., None][0, 0, 0],
        IMAGE[..., None][0, 0, 0],
        ValueError,
        r"image: expected 2 spatial axes .* got shape \(1,\)",
    ),
    (IMAGE / 0, IMAGE, ValueError, "image: expected finite values, got 144 others"),
    (IMAGE, IMAGE * float("nan"), ValueError, "reference: expected finite values, got 144 others"),
    (IMAGE.to("meta"), IMAGE, ValueError, "image: expected the device of the reference, cpu"),
]


@pytest.mark.parametrize(("image", "reference", "error", "message"), INVALID)
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_images_are_refused(metric, image, reference, error, message):
    with pytest.raises(error, match=message):
        metric(image, reference, data_range=1)
    with pytest.raises(error, match=message):
        evaluate(image, reference, "range-1")


@pytest.mark.parametrize(("image", "reference", "error", "message"), INVALID)
def test_regressed_snr_refuses_bad_images(image, reference, error, message):
    with pytest.raises(error, match=message):
        regressed_snr(image, reference)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("data_range", "error", "message"),
    [
        (0, ValueError, "data_range: expected a positive number, got 0"),
        (-1.0, ValueError, "data_range: expected a positive number, got -1.0"),
        (float("inf"), ValueError, "data_range: expected a positive number, got inf"),
        (None, TypeError, "data_range: expected a positive number, got None"),
        (True, TypeError, "data_range: expected a positive number, got True"),
        ("image", ValueError, "data_range: expected one of reference, reference-max, got 'image'"),
    ],
)
def test_bad_data_ranges_are_refused(metric, data_range, error, message):
    with pytest.raises(error, match=message):
        metric(IMAGE, IMAGE, data_range=data_range)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("data_range", ["reference", "reference-max"])
def test_a_reference_without_range_is_refused(metric, data_range):
    reference = IMAGE.clone()
    reference[1] = 0
    with pytest.raises(
        ValueError, match=f"data_range: expected a positive '{data_range}' .* got 0"
    ):
        metric(IMAGE, reference, data_range=data_range)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_the_data_range_cannot_be_left_out(metric):
    with pytest.raises(TypeError, match="data_range"):
        metric(IMAGE, IMAGE)


@pytest.mark.parametrize(
    ("window", "error", "message"),
    [
        (9, ValueError, r"at least 9 pixels each, got shape \(2, 8, 9\)"),
        (4, ValueError, "window: expected an odd number of pixels, got 4"),
        (1, ValueError, "window: expected an integer >= 3, got 1"),
        (7.0, TypeError, "window: expected an integer >= 3, got 7.0"),
    ],
)
def test_bad_windows_are_refused(window, error, message):
    with pytest.raises(error, match=message):
        ssim(IMAGE, IMAGE, data_range=1, window=window)


def test_bad_conventions_are_refused():
    with pytest.raises(ValueError, match=r"convention: expected one of range-1, adler, .* got 'x'"):
        evaluate(IMAGE, IMAGE, "x")
    with pytest.raises(TypeError, match=r"convention: expected a name or .* got float"):
        evaluate(IMAGE, IMAGE, 1.0)
    with pytest.raises(ValueError, match=r"image: expected at least one image, got .*\(0, 8, 9\)"):
        evaluate(IMAGE[:0], IMAGE[:0], "range-1")
    with pytest.raises(ValueError, match="ssim_range: expected a positive number, got 0"):
        MetricConvention("x", psnr_range=1, ssim_range=0)
    with pytest.raises(ValueError, match="psnr_range: expected one of reference, reference-max"):
        MetricConvention("x", psnr_range="max", ssim_range=1)
    with pytest.raises(ValueError, match=r"clip: expected an increasing pair, got \(1, 0\)"):
        MetricConvention("x", psnr_range=1, ssim_range=1, clip=(1, 0))
    with pytest.raises(TypeError, match="name: expected a string, got 1"):
        MetricConvention(1, psnr_range=1, ssim_range=1)
