"""Files of denoisers, regularisers and of networks that are not ours."""

import json
import sys

import pytest
import torch
from saved_networks import edit, same_bits, tiny

import tomolearn as tl
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.priors import SpectralDenoiser, TotalVariation
from tomolearn.training.weights import read_card

OWN = """
import torch
import tomolearn as tl


class Net(tl.models.ReconstructionModel):
    def __init__(self, *, scale: float = 1.0):
        super().__init__({"scale": scale})
        self.factor = torch.nn.Parameter(torch.tensor(scale))

    def reconstruct(self, sinogram, operator):
        return self.factor * operator.adjoint(sinogram)


class Ridge(tl.priors.Regulariser):
    def __init__(self):
        super().__init__({})
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def value(self, image):
        return self.weight * image.square().flatten(-2).sum(-1)
"""


@pytest.fixture
def own(tmp_path):
    """A file of a user, as an address."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(OWN)
    return str(tmp_path / "code" / "mine.py")


def spectral():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpectralDenoiser(depth=2, channels=4, lipschitz=0.8)


def test_denoiser_round_trip(tmp_path, rng):
    denoise = spectral().eval()
    tl.save(denoise, tmp_path / "denoiser")
    again = tl.load(tmp_path / "denoiser", kind="denoiser")
    assert type(again) is SpectralDenoiser
    assert same_bits(again, denoise)
    image = torch.rand(2, 9, 8, generator=rng)
    assert torch.equal(again(image), denoise(image))
    assert again.card["kind"] == "denoiser"


def test_regulariser_without_weights_round_trip(tmp_path):
    tl.save(TotalVariation(ndim=3, tolerance=0.5), tmp_path / "tv")
    again = tl.load(tmp_path / "tv", kind="regulariser")
    assert type(again) is TotalVariation
    assert {**again.arguments} == {**TotalVariation(ndim=3, tolerance=0.5).arguments}
    assert (again.ndim, again.tolerance) == (3, 0.5)


def test_denoiser_of_a_network_can_be_saved_alone(tmp_path, rng):
    model = tl.models.DEGradient(depth=2, channels=4).eval()
    tl.save(model.denoiser(), tmp_path / "prior")
    image = torch.rand(9, 8, generator=rng)
    again = tl.load(tmp_path / "prior", kind="denoiser")
    assert torch.equal(again(image), model.denoiser()(image))


@pytest.mark.parametrize("kind", ["model", "denoiser", "regulariser"])
def test_each_kind_is_asked_for(kind, tmp_path):
    things = {"model": tiny(), "denoiser": spectral(), "regulariser": TotalVariation()}
    tl.save(things[kind], tmp_path / "x")
    for other in things:
        if other != kind:
            hint = rf'expected a {other}, got a {kind}; tomolearn.load\(..., kind="{kind}"\)'
            with pytest.raises(ValueError, match=rf"x\.json: {hint}"):
                tl.load(tmp_path / "x", kind=other)
    with pytest.raises(ValueError, match="kind: expected one of model, denoiser, regulariser"):
        tl.load(tmp_path / "x", kind="network")
    text = render_card(*read_card(tmp_path / "x"))
    call = {"model": "", "denoiser": ', kind="denoiser"', "regulariser": ', kind="regulariser"'}
    assert f'{kind} = tl.load("x"{call[kind]})' in text
    title = "network" if kind == "model" else kind
    assert f"| {title} | {read_card(tmp_path / 'x')[1]['model']} |" in text


def test_card_of_version_0_1_is_a_model(tmp_path):
    tl.save(tiny(), tmp_path / "old")

    def as_it_was(card):
        card["version"] = 1
        del card["kind"]

    edit(tmp_path / "old", as_it_was)
    assert same_bits(tl.load(tmp_path / "old"), tiny())
    assert read_card(tmp_path / "old")[1]["kind"] == "model"


# the shipped networks that came with version 0.1, whose cards are as it wrote them
OF_VERSION_0_1 = {
    "degrad-ellipses",
    "eqprox-chest",
    "lgd-ellipses",
    "lpd-ellipses",
    "unet-ellipses",
}


def test_shipped_cards_of_version_0_1_are_read_as_they_are():
    cards = tl.training.shipped()
    assert set(cards) > OF_VERSION_0_1
    for name in cards:
        expected = 1 if name in OF_VERSION_0_1 else 2
        assert json.loads(read_text(name))["version"] == expected


def read_text(name):
    from importlib import resources

    return (resources.files("tomolearn") / "weights" / f"{name}.json").read_text(encoding="utf-8")


def test_network_of_a_users_file(own, tmp_path, rng):
    model = tl.models.build_model(f"{own}:Net", {"scale": 3.0})
    tl.save(model, tmp_path / "net")
    card = read_card(tmp_path / "net")[1]
    assert card["model"] == "mine.py:Net"  # and no folder of this machine
    assert 'tl.load("net", model="mine.py:Net")' in render_card("net", card)
    for given in (f"{own}:Net", type(model)):
        again = tl.load(tmp_path / "net", model=given)
        assert type(again) is type(model)
        assert dict(again.arguments) == {"scale": 3.0}
        assert same_bits(again, model)
    grid = tl.Grid((8, 8))
    A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 4))
    y = A(torch.rand(8, 8, generator=rng))
    assert torch.equal(again(y, A), model.eval()(y, A))


def test_regulariser_of_a_users_file(own, tmp_path):
    regulariser = tl.priors.PRIORS.find(f"{own}:Ridge")()
    tl.save(regulariser, tmp_path / "ridge")
    again = tl.load(tmp_path / "ridge", kind="regulariser", model=f"{own}:Ridge")
    assert float(again(torch.ones(2, 3)).detach()) == 12.0


def test_code_is_not_run_because_a_card_says_so(own, tmp_path, monkeypatch):
    tl.save(tl.models.build_model(f"{own}:Net", {}), tmp_path / "net")
    (tmp_path / "mine.py").write_text("raise SystemExit('run')")
    (tmp_path / "evil_module.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for spec in ("mine.py:Net", "evil_module:Net"):
        edit(tmp_path / "net", lambda card, spec=spec: card.update(model=spec))
        match = rf'got \'{spec}\', which is code .* tomolearn\.load\(\.\.\., model="{spec}"\)'
        with pytest.raises(ValueError, match=match):
            tl.load(tmp_path / "net")
    assert "evil_module" not in sys.modules


def test_network_of_another_package_loads_by_its_name(own, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "foreign_nets-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "foreign_nets.py").write_text(OWN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-nets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tomolearn.models]\nforeign = foreign_nets:Net\n")
    monkeypatch.syspath_prepend(site)
    try:
        model = tl.models.build_model("foreign", {"scale": 5.0})
        tl.save(model, tmp_path / "net")
        assert read_card(tmp_path / "net")[1]["model"] == "foreign"
        assert same_bits(tl.load(tmp_path / "net"), model)
    finally:
        sys.modules.pop("foreign_nets", None)


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (
            TotalVariation,
            ValueError,
            "model: expected a subclass of ReconstructionModel, got <clas",
        ),
        ("math:pi", ValueError, r"model math:pi: expected a subclass"),
        ("no_file.py:Net", FileNotFoundError, r"no_file\.py: there is no such file"),
        ("learned-pdhgg", ValueError, "did you mean learned-pdhg"),
        ("fbp-unet", ValueError, "arguments of learned-primal-dual: expected one of channels"),
    ],
)
def test_wrong_class(model, error, match, tmp_path):
    tl.save(tiny(), tmp_path / "net")
    with pytest.raises(error, match=match):
        tl.load(tmp_path / "net", model=model)
