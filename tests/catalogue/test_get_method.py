"""Methods by name: table, weights, functions; their settings, and every mistake."""

import pickle
import subprocess
import sys

import pytest
import torch
from autoencoders import saved_autoencoder
from saved_networks import GRID, SCAN, edit, put, tiny

import tomolearn as tl
from tomolearn.catalogue import (
    Trained,
    TrainedElsewhereWarning,
    WeightsChangedError,
    get_clinical_method,
    get_method,
    method_names,
)
from tomolearn.catalogue.names import split_names
from tomolearn.methods import FBP, METHODS, TotalVariation

OPERATOR = tl.RayTransform(GRID, SCAN)


@pytest.fixture
def sinogram(rng):
    return torch.rand(2, 1, *OPERATOR.range_shape, generator=rng)


def test_names_are_those_of_the_table_and_of_the_weights():
    names = method_names()
    assert names[: len(METHODS)] == tuple(METHODS)
    assert {"lpd-ellipses", "unet-ellipses"} <= set(names)
    prior = {"prior": "squared-differences", "weight": 1.0}
    denoiser = {"prior": "gsd-ellipses", "sigma": 0.05, "weight": 1.0}
    required = {"tikhonov": {"weight": 1.0}, "variational": prior, "pnp": denoiser}
    required["generative"] = {"prior": saved_autoencoder(), "weight": 1.0}
    required |= {name: {"prior": "gsd-ellipses"} for name in ("dds", "dps", "diffpir")}
    required["ensemble"] = {"members": "[fbp,sirt]"}
    for name in names:
        assert get_method(name, **required.get(name, {})).name == name


def test_the_scale_of_attenuation_comes_with_the_weights(tmp_path):
    tl.save(tiny(), tmp_path / "known", training={"value_per_attenuation": 50.0})
    known, unknown = str(tmp_path / "known.json"), "lpd-ellipses"
    assert get_clinical_method(known).image_scale == 50.0
    assert get_clinical_method(f"{known}(image_scale=2)").image_scale == 2.0
    assert get_clinical_method(known, image_scale=1.0).image_scale == 1.0
    assert get_clinical_method(unknown).image_scale == 1.0
    assert get_method(known).image_scale == 1.0
    assert get_clinical_method("fbp", filter="hann") == FBP(filter="hann")


@pytest.mark.parametrize(
    ("spec", "method"),
    [
        ("fbp", FBP()),
        ("fbp(filter=hann)", FBP(filter="hann")),
        (
            "tv( weight=0.5, nonnegative=True,tolerance=None)",
            TotalVariation(weight=0.5, nonnegative=True),
        ),
    ],
)
def test_settings_in_parentheses(spec, method):
    assert get_method(spec) == method
    assert get_method(**method.to_dict()) == method
    assert get_method("tv(weight=2)", weight=3.0).weight == 2


def test_a_list_is_split_outside_of_parentheses():
    assert split_names("methods", "fbp, tv(weight=1, start=fbp),a.py:f") == [
        "fbp",
        "tv(weight=1, start=fbp)",
        "a.py:f",
    ]
    with pytest.raises(ValueError, match="methods: expected names with commas"):
        split_names("methods", "fbp,,tv")


def test_trained_weights(tmp_path, sinogram):
    model = tiny()
    tl.save(model, tmp_path / "net", grid=GRID, scan=SCAN)
    method = get_method(str(tmp_path / "net.json"), image_scale=2)
    with torch.no_grad():
        expected = model(2 * sinogram, OPERATOR) / 2
    torch.testing.assert_close(method(sinogram, OPERATOR), expected)
    assert not method(sinogram, OPERATOR).requires_grad
    assert method.network() is method.network()
    assert get_method(**method.to_dict()) == method == pickle.loads(pickle.dumps(method))
    assert method.card["sha256"] == method.sha256
    # the same path with other weights is another method
    put(tmp_path / "net", {name: 2 * t for name, t in model.state_dict().items()})
    other = get_method(str(tmp_path / "net.json"), image_scale=2)
    assert other != method
    assert not torch.equal(other(sinogram, OPERATOR), expected)
    with pytest.raises(ValueError, match=r"expected weights with SHA-256 .* they have changed"):
        get_method(**method.to_dict())


def test_weights_that_changed_on_the_way_to_a_worker(tmp_path):
    model = tiny()
    tl.save(model, tmp_path / "net", grid=GRID, scan=SCAN)
    sent = pickle.dumps(get_method(str(tmp_path / "net")))
    put(tmp_path / "net", {name: 2 * t for name, t in model.state_dict().items()})
    with pytest.raises(WeightsChangedError, match="they have changed since the method was made"):
        pickle.loads(sent).prepare()


def test_weights_used_elsewhere(tmp_path):
    tl.save(tiny(), tmp_path / "net", task="mine", grid=GRID, scan=SCAN)
    method = Trained(weights=str(tmp_path / "net"))
    method.warn_elsewhere(GRID, SCAN)
    method.warn_elsewhere(GRID, SCAN, "mine")
    with pytest.warns(TrainedElsewhereWarning, match="net: trained for the task mine, not yours"):
        method.warn_elsewhere(GRID, SCAN, "yours")
    with pytest.warns(TrainedElsewhereWarning, match=r"trained for Grid.*, not Grid"):
        method.warn_elsewhere(tl.Grid((8, 8), 1.0), SCAN, "mine")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fpb", {}, "method: expected one of fbp, .* did you mean fbp"),
        ("lpd-elipses", {}, "did you mean lpd-ellipses"),
        (3, {}, "expected a name, got 3"),
        ("fbp", {"filtr": "hann"}, "settings of FBP: .* did you mean filter"),
        ("fbp(filter)", {}, "expected settings as name=value, got 'filter'"),
        ("fbp(filtr=hann)", {}, "did you mean filter"),
        ("sirt(iterations=many)", {}, "iterations: expected an integer, got 'many'"),
        ("sirt(nonnegative=perhaps)", {}, "nonnegative: expected true or false, got 'perhaps'"),
        ("lpd-ellipses", {"image_scale": 0}, "image_scale: expected a positive number"),
        ("lpd-ellipses", {"scale": 1}, "settings of lpd-ellipses: .* did you mean image_scale"),
    ],
)
def test_mistakes(name, settings, message):
    with pytest.raises(ValueError, match=message):
        get_method(name, **settings)


def test_damaged_card_is_told_before_any_work(tmp_path):
    tl.save(tiny(), tmp_path / "net")
    edit(tmp_path / "net", lambda card: card.pop("sha256"))
    with pytest.raises(ValueError, match="no 'sha256'"):
        get_method(str(tmp_path / "net"))
    tl.save(tiny(), tmp_path / "other")
    edit(tmp_path / "other", lambda card: card.update(kind="denoiser"))
    with pytest.raises(ValueError, match="expected weights of a model, got those of a denoiser"):
        Trained(weights=str(tmp_path / "other"))
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        get_method(str(tmp_path / "no.json"))


def test_methods_are_made_without_torch():
    program = (
        "import sys, tomolearn.catalogue as c; c.get_method('lpd-ellipses').card; "
        "c.get_method('tv(weight=1)'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
