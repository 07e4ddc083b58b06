"""Methods as values: settings, checks, JSON, and what other packages and users add."""

import dataclasses
import inspect
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from autoencoders import saved_autoencoder

import tomolearn as tl
from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.methods import (
    FBP,
    METHODS,
    SIRT,
    IterativeMethod,
    Method,
    TotalVariation,
    method_from_dict,
    setting,
)
from tomolearn.methods.method import REQUIRED
from tomolearn.simulation import PhotonNoise

GRID = Grid((12, 10))
OPERATOR = RayTransform(GRID, ParallelBeam.covering(GRID, 16))
GIVEN = {
    "tikhonov": {"weight": 0.5},
    "tv": {"weight": 0.5},
    "variational": {"prior": "squared-differences", "weight": 0.5},
    "dds": {"prior": "gsd-ellipses", "noise_level": 0.1, "samples": 2, "steps": 3},
    "dps": {"prior": "gsd-ellipses", "noise_level": 0.1, "samples": 2, "steps": 3},
    "diffpir": {"prior": "gsd-ellipses", "noise_level": 0.1, "samples": 2, "steps": 3},
    "dip": {"iterations": 10, "channels": 4},
    "pnp": {"prior": "gsd-ellipses", "sigma": 0.05, "weight": 50.0, "iterations": 20},
    "generative": {"prior": saved_autoencoder(), "weight": 0.01},
}
FUNCTIONS = {"tv": tl.total_variation} | {
    name: getattr(tl, name) for name in METHODS if name != "tv"
}
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture
def sinogram(rng):
    return OPERATOR(torch.rand(2, *GRID.shape, generator=rng))


@every_method
def test_value_and_function_are_one(name, sinogram):
    method = METHODS[name](**GIVEN.get(name, {}))
    assert torch.equal(
        method(sinogram, OPERATOR), FUNCTIONS[name](sinogram, OPERATOR, **GIVEN.get(name, {}))
    )


@every_method
def test_function_has_the_defaults_of_the_value(name):
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    shared = [one for one in METHODS[name].settings() if one.name in parameters]
    # TV's value also takes what it makes a start and a weight of
    assert len(shared) == len(METHODS[name].settings()) - (4 if name == "tv" else 0)
    for one in shared:
        default = parameters[one.name].default
        if (name, one.name) == ("tv", "weight"):  # a value can do without, see `photons`
            assert default is inspect.Parameter.empty
        else:
            expected = inspect.Parameter.empty if one.default is REQUIRED else one.default
            assert default == expected, one.name
    if issubclass(METHODS[name], IterativeMethod):
        assert {"x0", "tolerance", "noise_level", "tau", "progress", "callback"} <= set(parameters)
    documented = inspect.getdoc(FUNCTIONS[name])
    for words in (*(f"\n{one} : " for one in parameters), "\nReturns\n---", "\nReferences\n---"):
        assert documented.count(words) == 1, words


@every_method
def test_json_and_pickle_round_trip(name):
    kind = METHODS[name]
    method = kind(**GIVEN.get(name, {}))
    assert method_from_dict(method.to_dict()) == method
    assert pickle.loads(pickle.dumps(method)) == method
    assert method.name == kind.name == name
    assert hash(method) == hash(kind(**GIVEN.get(name, {})))
    for one in kind.settings():
        assert one.help
        assert one.help[0].islower() or one.help.startswith("L")


def test_text_has_what_differs_from_the_defaults():
    assert str(FBP()) == "fbp"
    assert str(SIRT(iterations=7, relaxation=0.5)) == "sirt (iterations 7, relaxation 0.5)"


@dataclass(frozen=True, kw_only=True)
class Example(Method):
    name: ClassVar[str] = "example"
    flag: bool = setting(False, help="a")
    number: int = setting(3, help="b", minimum=2)
    share: float = setting(0.5, help="c", minimum=0, maximum=1)
    inside: float | None = setting(None, help="d", above=0, below=2)
    word: str = setting("x", help="e", choices=("x", "y"))
    text: str = setting("t", help="f")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flag": 1}, "flag: expected a bool, got 1"),
        ({"number": 1}, "number: expected an integer >= 2, got 1"),
        ({"number": 2.5}, "number: expected an integer"),
        ({"number": None}, "number: expected an integer"),
        ({"share": -0.5}, "share: expected a non-negative number, got -0.5"),
        ({"share": 1.5}, r"share: expected a number in \[0, 1\], got 1.5"),
        ({"inside": 2}, r"inside: expected a number in \(0, 2\), got 2"),
        ({"inside": 0.0}, "inside: expected a positive number, got 0"),
        ({"word": "z"}, "word: expected one of x, y, got 'z'"),
        ({"text": 3}, r"text: expected a str, got 3 \(int\)"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Example(**settings)


def test_settings_are_of_their_kind():
    method = Example(share=1, inside=1)
    assert isinstance(method.share, float)
    assert dataclasses.replace(method, inside=None).inside is None


def test_settings_that_are_none():
    for values, message in {
        ("sirt", ("iteratons", 3)): "settings of SIRT: .* did you mean iterations?",
        ("tikhonov", ("iterations", 3)): "weight: expected a value with Tikhonov, got none",
        ("sirtt", ("iterations", 3)): "method: expected one of .* did you mean sirt",
    }.items():
        name, (key, value) = values
        with pytest.raises(ValueError, match=message):
            method_from_dict({"name": name, key: value})


def test_what_is_no_setting_cannot_be_written_down():
    method = METHODS["tikhonov"](weight=1.0, regularizer=tl.FiniteDifferences(GRID.shape))
    with pytest.raises(ValueError, match="regularizer: expected None in a method"):
        method.to_dict()


def test_function_of_a_user(tmp_path, sinogram):
    file = tmp_path / "mine.py"
    file.write_text(
        "def half(sinogram, operator, *, factor: float = 0.5, other=None, n: int | None = None):\n"
        "    assert other is None\n"
        "    return factor * operator.adjoint(sinogram)\n"
        "def needs(sinogram, operator, thing): ...\n"
        "def one(sinogram): ...\n"
        "class Other: ...\n"
    )
    spec = f"{file}:half"
    method = METHODS.find(spec)(factor=2)
    assert [one.name for one in method.settings()] == ["factor", "n"]
    assert torch.equal(method(sinogram, OPERATOR), 2 * OPERATOR.adjoint(sinogram))
    assert method.to_dict() == {"name": spec, "factor": 2.0, "n": None}
    assert method_from_dict(method.to_dict()) == method
    assert pickle.loads(pickle.dumps(method)) == method
    with pytest.raises(ValueError, match="factor: expected a finite number, got 'a'"):
        METHODS.find(spec)(factor="a")
    for name, message in {
        "needs": "expected a default of thing, or an annotation",
        "one": r"expected a Method or a function f\(sinogram, operator\)",
        "Other": "expected a class of Method, got Other",
    }.items():
        with pytest.raises(ValueError, match=message):
            METHODS.find(f"{file}:{name}")


def test_methods_are_listed_and_chosen_without_torch():
    program = (
        "import sys, tomolearn.methods as m; "
        "m.METHODS['fbp'](), m.METHODS['tv'](weight=1.0); "
        "[kind.settings() for kind in m.METHODS.values()]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_tv_takes_its_weight_from_photons(sinogram):
    sinogram = torch.stack([sinogram[0] / 40, sinogram[1] / 20])
    noise = PhotonNoise(1e4, electronic_std=3.0)
    plain = TotalVariation(nonnegative=True, iterations=300)
    for mistake in (lambda: plain(sinogram, OPERATOR), lambda: plain.informed(None)):
        with pytest.raises(
            ValueError, match="weight: expected a number for tv without photon nois"
        ):
            mistake()
    assert TotalVariation(weight=1.0).informed(noise) == TotalVariation(weight=1.0)
    method = plain.informed(noise)
    assert (method.photons, method.electronic_std) == (1e4, 3.0)
    found = method(sinogram, OPERATOR)
    weights = tl.methods.photon_tv_weight(sinogram, OPERATOR, photons=1e4, electronic_std=3.0)
    for image, y, weight in zip(found, sinogram, weights, strict=True):
        alone = tl.total_variation(
            y, OPERATOR, weight=float(weight), iterations=300, nonnegative=True
        )
        torch.testing.assert_close(image, alone, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="callback: expected none where each image has a weight"):
        method(sinogram, OPERATOR, callback=print)
    with pytest.raises(ValueError, match="noise_level: expected none where each image"):
        dataclasses.replace(method, noise_level=0.1)(sinogram, OPERATOR)


def test_tv_that_starts_from_fbp_needs_fewer_iterations(sinogram):
    exact = tl.total_variation(sinogram, OPERATOR, weight=0.05, iterations=5000, nonnegative=True)
    errors = [
        (
            TotalVariation(weight=0.05, iterations=3, nonnegative=True, start=start)(
                sinogram, OPERATOR
            )
            - exact
        ).norm()
        for start in ("zero", "fbp")
    ]
    assert errors[1] < errors[0] / 2
    # of these views there is no FBP
    fan = RayTransform(
        GRID,
        tl.FanBeam.covering(
            GRID, 10, source_to_isocenter=50, source_to_detector=90, angular_range=1.0
        ),
    )
    y = fan(torch.ones(GRID.shape))
    start, zero = (
        TotalVariation(weight=0.05, iterations=3, start=start)(y, fan) for start in ("fbp", "zero")
    )
    assert torch.equal(start, zero)
