"""Conformal calibration against closed forms, simulation and the guarantee's arithmetic."""

import math

import pytest
import torch

from tomolearn.evaluation import (
    ConformalCalibration,
    Estimates,
    conformal_calibration,
    coverage,
    draw_calibration,
    judge_uncertainty,
    negative_log_likelihood,
)


def normal(rng: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def heteroscedastic(rng: torch.Generator, n: int) -> Estimates:
    """Errors whose deviation varies by pixel; scores are too small by three."""
    deviation = torch.exp(normal(rng, n, 16, 16))
    return Estimates(deviation * normal(rng, n, 16, 16), deviation / 3)


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
def test_factor_of_normal_errors_is_the_normal_quantile(rng, level):
    deviation = torch.exp(normal(rng, 400, 24, 24))
    found = conformal_calibration(2 * deviation * normal(rng, 400, 24, 24), deviation, level=level)
    quantile = 2 * math.sqrt(2) * torch.erfinv(torch.tensor(level, dtype=torch.float64)).item()
    # the + 1 of the guarantee asks for slightly more
    assert found.factors.item() == pytest.approx(quantile, rel=0.02)


@pytest.mark.parametrize(("n", "level", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (9, 0.5, 5)])
def test_factor_by_pixel_is_an_order_statistic(rng, n, level, rank):
    residuals, scores = normal(rng, n, 3, 4), torch.rand(n, 3, 4, generator=rng) + 0.5
    found = conformal_calibration(residuals, scores.double(), level=level, regions="pixels")
    wanted = (residuals.abs() / scores.double()).sort(dim=0).values[rank - 1]
    assert torch.equal(found.factors, wanted)
    assert found.by == "pixels"


def test_each_pixel_as_a_region_is_calibration_by_pixels(rng):
    residuals, scores = normal(rng, 23, 3, 4), torch.rand(23, 3, 4, generator=rng).double() + 0.5
    labels = torch.arange(12).reshape(3, 4)
    by_label = conformal_calibration(residuals, scores, regions=labels)
    by_pixel = conformal_calibration(residuals, scores, regions="pixels")
    assert torch.equal(by_label.factors.reshape(3, 4), by_pixel.factors)
    assert torch.equal(by_label.half_widths(scores, labels), by_pixel.half_widths(scores))


def left_out_parts(found, residuals, scores, labels, label):
    widths = found.half_widths(scores, labels)
    outside = (residuals.abs() > widths) & (labels == label)
    counts = (labels == label).flatten(1).sum(1)
    has = counts > 0
    return (outside.flatten(1).sum(1)[has] / counts[has]).sum().item(), int(has.sum())


def test_region_of_varying_size_has_the_smallest_factor_that_the_guarantee_allows(rng):
    residuals, scores = normal(rng, 60, 8, 8), torch.rand(60, 8, 8, generator=rng).double() + 0.1
    labels = (torch.rand(60, 8, 8, generator=rng) < 0.3).long()
    labels[:5] = 0  # these lack the second region
    found = conformal_calibration(residuals, scores, level=0.8, regions=labels)
    assert found.n == 55
    for label in (0, 1):
        total, n = left_out_parts(found, residuals, scores, labels, label)
        assert (total + 1) / (n + 1) <= 0.2 + 1e-9
        factors = found.factors.clone()
        factors[label] *= 1 - 1e-9
        smaller = ConformalCalibration(0.8, factors, found.n, "regions")
        total, n = left_out_parts(smaller, residuals, scores, labels, label)
        assert (total + 1) / (n + 1) > 0.2


def test_expected_coverage_by_pixel_is_that_of_exchangeable_ranks(rng):
    # over draws of calibration and test, coverage is ceil((n + 1) level) / (n + 1)
    n = 14
    errors = normal(rng, n + 1, 200, 200).exp()  # of any law
    found = conformal_calibration(
        errors[:n], torch.ones_like(errors[:n]), level=0.8, regions="pixels"
    )
    expected = math.ceil(15 * 0.8) / 15
    deviation = math.sqrt(expected * (1 - expected) / 40_000)
    covered = coverage(errors[n:], found.half_widths(torch.ones_like(errors[n:])))
    assert abs(covered - expected) < 4 * deviation


def test_guarantee_holds_where_images_differ_and_pixels_agree(rng):
    # the worst case: all pixels of an image have the same error
    covered = []
    for _ in range(300):
        errors = normal(rng, 20, 1, 1).exp().expand(20, 4, 4)
        same = torch.ones_like(errors)
        found = conformal_calibration(errors[:19], same[:19], level=0.9)
        covered.append(coverage(errors[19:], found.half_widths(same[19:])))
    # 18 of 20 ranks, within four standard errors of the mean of 300 draws
    assert abs(sum(covered) / 300 - 0.9) < 4 * math.sqrt(0.09 / 300)


def test_report_counts_coverage_lengths_and_likelihood(rng):
    own, other = heteroscedastic(rng, 100), heteroscedastic(rng, 100)
    shifted = Estimates(2 * other.residuals, other.scores)
    reports = judge_uncertainty(own, {"same": other, "shifted": shifted})
    for at in reports["same"].levels:
        assert at.coverage == pytest.approx(at.level, abs=0.02)
        assert at.raw_coverage < at.level - 0.2
    at_90 = {name: one.levels[4] for name, one in reports.items()}
    assert at_90["same"].length < at_90["same"].constant_length
    # P(|2 z| < 1.645)
    assert at_90["shifted"].coverage == pytest.approx(0.589, abs=0.02)
    # the entropy of a normal variable, on average over log(deviation) of mean 0
    entropy = 0.5 * math.log(2 * math.pi * math.e) + other.scores.mul(3).log().mean().item()
    assert reports["same"].nll == pytest.approx(entropy, abs=0.02)
    assert reports["same"].raw_nll > reports["same"].nll
    assert reports["shifted"].nll > reports["same"].nll


def test_likelihood_is_that_of_torch(rng):
    r, s = normal(rng, 5, 6), torch.rand(5, 6, generator=rng).double() + 0.1
    wanted = -torch.distributions.Normal(0.0, s).log_prob(r).mean().item()
    assert negative_log_likelihood(r, s) == pytest.approx(wanted, rel=1e-12)


def test_figure_has_a_curve_for_each_report(rng):
    own = heteroscedastic(rng, 30)
    figure = draw_calibration(judge_uncertainty(own, {"a": own, "b": own}))
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {"a", "b", "a, not calibrated"} <= set(labels)


def test_calibration_comes_back_from_json(rng):
    one = heteroscedastic(rng, 30)
    for regions in (None, "pixels", torch.arange(16 * 16).reshape(16, 16) % 3):
        found = conformal_calibration(one.residuals, one.scores, regions=regions)
        back = ConformalCalibration.from_dict(found.to_dict())
        assert back.to_dict() == found.to_dict()
        assert torch.equal(back.factors, found.factors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 0.95}, "at least 19 calibration images for the level 0.95, got 12"),
        ({"level": 1.0}, r"level: expected a number in \(0, 1\), got 1"),
        ({"scores": torch.zeros(12, 4, 4)}, "scores: expected positive values, got 192 others"),
        ({"scores": torch.ones(12, 4, 5)}, "expected the same shape"),
        ({"residuals": torch.full((12, 4, 4), math.nan)}, "expected finite values"),
        ({"regions": "organs"}, "regions: expected labels or 'pixels', got 'organs'"),
        ({"regions": torch.ones(4, 4)}, "regions: expected labels as a torch.Tensor of integers"),
        ({"regions": torch.zeros(3, 3).long()}, r"regions: expected shape \(12, 4, 4\) or"),
        ({"regions": -torch.ones(4, 4).long()}, "regions: expected labels from 0 on"),
        (
            {"regions": torch.arange(12).reshape(12, 1, 1).expand(12, 4, 4)},
            "at least 9 calibration images with label 0 for the level 0.9, got 1",
        ),
    ],
)
def test_wrong_arguments_are_told(changes, message):
    fields = {"residuals": torch.ones(12, 4, 4), "scores": torch.ones(12, 4, 4)} | changes
    with pytest.raises(ValueError, match=message):
        conformal_calibration(fields.pop("residuals"), fields.pop("scores"), **fields)


def test_scores_of_another_kind_than_the_calibrations_are_told():
    ones = torch.ones(12, 4, 4)
    labels = torch.zeros(4, 4).long()
    with pytest.raises(ValueError, match="regions: expected labels, got none"):
        conformal_calibration(ones, ones, regions=labels).half_widths(ones)
    with pytest.raises(ValueError, match="regions: expected none, as calibrated by image"):
        conformal_calibration(ones, ones).half_widths(ones, labels)
    with pytest.raises(ValueError, match=r"scores: expected images of shape \(4, 4\)"):
        conformal_calibration(ones, ones, regions="pixels").half_widths(torch.ones(1, 5, 5))
    with pytest.raises(ValueError, match="regions: expected labels below 1, got 1"):
        conformal_calibration(ones, ones, regions=labels).half_widths(ones, labels + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 2.0}, "level: expected"),
        ({"by": "organ"}, "by: expected image, regions or pixels"),
        ({"factors": ["a"]}, "factors: expected numbers"),
        ({"factors": [-1.0]}, "factors: expected finite numbers that are not negative"),
        ({"images": 0}, "images: expected"),
        ({"more": 1}, "expected exactly level, factors, images and by"),
    ],
)
def test_wrong_files_are_told(changes, message):
    values = {"level": 0.9, "factors": 1.0, "images": 9, "by": "image"} | changes
    with pytest.raises(ValueError, match=message):
        ConformalCalibration.from_dict(values)


def test_each_region_is_covered_where_one_factor_would_not_do(rng):
    def drawn(n: int) -> Estimates:
        # the scores do not know that errors of the right half are five times as large
        labels = torch.zeros(n, 8, 8, dtype=torch.int64)
        labels[..., 4:] = 1
        labels[: n // 2, 0, 0] = 2
        size = torch.tensor([1.0, 5.0, 1.0], dtype=torch.float64)[labels]
        return Estimates(size * normal(rng, n, 8, 8), torch.ones(n, 8, 8).double(), labels)

    calibration, test = drawn(200), drawn(300)
    by_labels = judge_uncertainty(calibration, {"x": test}, levels=[0.9], regions="labels")
    (at_90,) = by_labels["x"].levels
    assert [(one.label, one.n) for one in at_90.regions] == [(0, 300), (1, 300), (2, 150)]
    # of one pixel in each image: 150 of them, of 100 calibrated ones
    for one, tolerance in zip(at_90.regions, (0.02, 0.02, 0.1), strict=True):
        assert one.coverage == pytest.approx(0.9, abs=tolerance)
    assert at_90.regions[1].length == pytest.approx(5 * at_90.regions[0].length, rel=0.1)
    whole = judge_uncertainty(calibration, {"held out": test}, levels=[0.9])["held out"].levels[0]
    assert whole.regions[0].coverage > 0.99
    assert whole.regions[1].coverage < 0.85
    with pytest.raises(ValueError, match="regions: expected labels of all images"):
        judge_uncertainty(
            calibration, {"x": Estimates(test.residuals, test.scores)}, regions="labels"
        )
