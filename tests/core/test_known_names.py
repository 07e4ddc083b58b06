"""`check_known`: the error names what the user may have meant."""

import pytest

from tomolearn._core.checks import check_known

NAMES = ("learned-primal", "learned-primal-dual", "fbp-unet", "TV")


@pytest.mark.parametrize("name", NAMES)
def test_known_name_comes_back(name):
    assert check_known("model", name, NAMES) == name


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("learned_primal_dual", "learned-primal-dual or learned-primal"),
        ("FBP-UNet", "fbp-unet"),
        ("fbpunet", "fbp-unet"),
        ("tv", "TV"),
    ],
)
def test_nearest_names(given, nearest):
    with pytest.raises(ValueError, match=rf"got '{given}'; did you mean {nearest}\?$"):
        check_known("model", given, NAMES)


def test_nothing_is_near():
    expected = "model: expected one of learned-primal, learned-primal-dual, fbp-unet, TV, got 'x'$"
    with pytest.raises(ValueError, match=expected):
        check_known("model", "x", NAMES)


def test_only_strings_are_names():
    with pytest.raises(TypeError, match=r"model: expected a name, got 3 \(int\)"):
        check_known("model", 3, NAMES)
