"""Weights on the disk: nothing is lost, and neither saving nor loading has side effects."""

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from saved_networks import CARD, GRID, SCAN, edit, refused, same_bits, tiny

import tomolearn as tl
from tomolearn._core.checkpoints import files as files_module
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.models import MODELS, LearnedPrimalDual, ReconstructionModel, build_model
from tomolearn.priors import NetworkDenoiser
from tomolearn.training.weights import read_card, shipped

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "tomolearn" / "weights"
# Its published size is 34 million parameters.
SMALL = {
    "fbp-unet": {"channels": [4, 8]},
    "automap": {"image_shape": [4, 4], "sinogram_shape": [3, 7]},
}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Stem of a pair of files."""
    tl.save(tiny(), tmp_path / "net", **CARD)
    return tmp_path / "net"


# Round trip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_round_trip_keeps_every_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny().to(dtype)
    tl.save(model, tmp_path / "net")
    loaded = tl.load(tmp_path / "net")
    assert type(loaded) is LearnedPrimalDual
    assert loaded.arguments == model.arguments
    assert same_bits(loaded, model)
    assert not same_bits(loaded, tiny(seed=1).to(dtype))


def test_loaded_network_reconstructs_the_same(saved: Path, rng: torch.Generator) -> None:
    A = tl.RayTransform(GRID, SCAN)
    sinogram = A(torch.rand(2, 1, 8, 8, generator=rng))
    assert torch.equal(tl.load(saved)(sinogram, A), tiny()(sinogram, A))


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_of_every_network(name: str, tmp_path: Path, rng: torch.Generator) -> None:
    model = build_model(name, SMALL.get(name, {}))
    # none is left as the constructor makes it, the running means of a batch norm included
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=rng) + 7)
    tl.save(model, tmp_path / "net")
    loaded = tl.load(tmp_path / "net")
    assert type(loaded) is type(model)
    assert json.dumps(dict(loaded.arguments)) == json.dumps(dict(model.arguments))
    assert same_bits(loaded, model)


def test_trained_weights_not_the_initial_ones(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        for n, weights in enumerate(model.parameters()):
            weights.fill_(n + 0.5)
    tl.save(model, tmp_path / "net")
    loaded = tl.load(tmp_path / "net")
    for n, weights in enumerate(loaded.parameters()):
        assert bool((weights == n + 0.5).all())


def test_memory_format_is_that_of_a_new_network(saved: Path) -> None:
    strides = [weights.stride() for weights in tiny().parameters()]
    assert [weights.stride() for weights in tl.load(saved).parameters()] == strides


def test_default_precision_of_the_reader_does_not_count(saved: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        loaded = tl.load(saved)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_bits(loaded, tiny())


def test_every_way_to_name_the_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (saved, saved.with_suffix(".json"), str(saved.with_suffix(".safetensors"))):
        assert same_bits(tl.load(path), tiny())
    monkeypatch.chdir(saved.parent)
    for name in ("net", "./net", "net.json"):
        assert same_bits(tl.load(name), tiny())


def test_other_dots_belong_to_the_name(tmp_path: Path) -> None:
    path = tl.save(tiny(), tmp_path / "net.v2")
    assert path == tmp_path / "net.v2.json"
    assert tl.save(tiny(), tmp_path / "a.safetensors") == tmp_path / "a.json"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "a.json",
        "a.safetensors",
        "net.v2.json",
        "net.v2.safetensors",
    ]
    assert same_bits(tl.load(tmp_path / "net.v2"), tiny())


def test_loaded_network_is_in_evaluation_mode_and_can_be_trained(saved: Path) -> None:
    loaded = tl.load(saved)
    assert not any(module.training for module in loaded.modules())
    assert all(weights.requires_grad and weights.is_leaf for weights in loaded.parameters())


def test_card_is_what_was_given(saved: Path) -> None:
    card = vars(tl.load(saved))["card"]
    for key in ("task", "metrics", "training", "about"):
        assert card[key] == CARD[key]
    assert tl.Grid.from_dict(card["grid"]) == GRID
    assert tl.ParallelBeam.from_dict(card["scan"]) == SCAN
    assert (card["model"], card["versions"]["torch"]) == ("learned-primal-dual", torch.__version__)
    content = saved.with_suffix(".safetensors").read_bytes()
    assert (card["bytes"], card["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert card["parameters"] == sum(weights.numel() for weights in tiny().parameters())
    assert read_card(saved) == ("net", card)


def test_argument_that_came_later_has_its_default(tmp_path: Path) -> None:
    # five dual variables are the constructor's default
    tl.save(tiny(n_dual=5), tmp_path / "net")
    edit(tmp_path / "net", lambda card: card["arguments"].pop("n_dual"))
    assert same_bits(tl.load(tmp_path / "net"), tiny(n_dual=5))


@pytest.mark.parametrize("device", [None, "cpu", "meta", torch.device("meta")])
def test_device_is_the_callers(saved: Path, device: torch.device | str | None) -> None:
    loaded = tl.load(saved, device=device)
    assert {weights.device.type for weights in loaded.parameters()} == {str(device or "cpu")}


def test_default_device_is_the_cpu_whatever_torch_thinks(saved: Path) -> None:
    with torch.device("meta"):
        loaded = tl.load(saved)
    assert same_bits(loaded, tiny())


@pytest.mark.gpu
def test_weights_cross_devices(tmp_path: Path) -> None:
    tl.save(tiny().cuda(), tmp_path / "net")
    assert same_bits(tl.load(tmp_path / "net"), tiny())
    assert next(tl.load(tmp_path / "net", device="cuda").parameters()).is_cuda


# Side effects


@pytest.mark.parametrize("training", [True, False])
def test_saving_changes_nothing_in_the_model(training: bool, tmp_path: Path) -> None:
    model = tiny().train(training)
    model.dual_updates[0].train(not training)
    weights = next(model.parameters())
    weights.grad = torch.ones_like(weights)
    weights.requires_grad_(False)
    identities = {name: (id(p), p.data_ptr(), p.stride()) for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model)
    tl.save(model, tmp_path / "net")
    assert [module.training for module in model.modules()] == modes
    assert same_bits(model, before)
    assert weights.grad is not None
    assert bool((weights.grad == 1).all())
    assert not weights.requires_grad
    for name, p in model.named_parameters():
        assert (id(p), p.data_ptr(), p.stride()) == identities[name]


def test_random_numbers_go_on_as_if_nothing_was_loaded(saved: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tl.load(saved)
    assert torch.equal(torch.rand(3), expected)


def test_loading_needs_no_lightning_and_no_pickle(saved: Path) -> None:
    program = (
        "import sys, torch, pickle\n"
        "def refuse(*args, **kwargs): raise SystemExit('unpickled')\n"
        "torch.load = pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "import tomolearn as tl\n"
        f"model = tl.load({str(saved)!r})\n"
        "import tomolearn.training\n"
        "print(*(name for name in ('lightning', 'pytorch_lightning') if name in sys.modules))\n"
        "total = sum(weights.detach().double().sum() for weights in model.parameters())\n"
        "print(float(total).hex())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    total = float(sum(weights.detach().double().sum() for weights in tiny().parameters()))
    assert result.stdout.splitlines() == ["", total.hex()]


# Writing


def test_existing_files_are_kept_unless_told(saved: Path) -> None:
    for suffix in (".safetensors", ".json"):
        with pytest.raises(FileExistsError, match=rf"net\{suffix}: exists .* overwrite=True"):
            tl.save(tiny(seed=1), saved)
        saved.with_suffix(suffix).rename(saved.with_suffix(f"{suffix}.old"))
    for suffix in (".safetensors", ".json"):
        saved.with_suffix(f"{suffix}.old").rename(saved.with_suffix(suffix))
    assert same_bits(tl.load(saved), tiny())
    tl.save(tiny(seed=1), saved, overwrite=True)
    assert same_bits(tl.load(saved), tiny(seed=1))
    assert sorted(file.name for file in saved.parent.iterdir()) == ["net.json", "net.safetensors"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_save_never_leaves_a_pair_that_loads_wrongly(
    failing: str, call: int, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    home: Any = os if failing == "fsync" else Path
    original = getattr(home, failing)

    def fail(*arguments: Any) -> Any:
        calls.append(str(arguments))
        if len(calls) == call:
            raise OSError("the disk is gone")
        return original(*arguments)

    monkeypatch.setattr(home, failing, fail)
    with pytest.raises(OSError, match="the disk is gone"):
        tl.save(tiny(seed=1), saved, overwrite=True)
    monkeypatch.undo()
    assert sorted(file.name for file in saved.parent.iterdir()) == ["net.json", "net.safetensors"]
    assert read_card(saved)[1]["task"] == "ellipses"  # the card comes last
    if (failing, call) == ("replace", 2):  # new weights, old card
        refused(ValueError, "one of the two files was changed or replaced", saved)
    else:
        assert same_bits(tl.load(saved), tiny())


def test_files_are_the_same_every_time(saved: Path, tmp_path: Path) -> None:
    tl.save(tiny(), tmp_path / "again", **CARD)
    for suffix in (".json", ".safetensors"):
        again = (tmp_path / "again").with_suffix(suffix)
        assert again.read_bytes() == saved.with_suffix(suffix).read_bytes()


def test_weights_can_be_read_without_tomolearn(saved: Path) -> None:
    tensors = safetensors.torch.load_file(saved.with_suffix(".safetensors"))
    own = tiny().state_dict()
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        name: tuple(t.shape) for name, t in own.items()
    }
    assert all(torch.equal(tensors[name], own[name]) for name in own)


def nan_model() -> ReconstructionModel:
    model = tiny()
    with torch.no_grad():
        model.dual_updates[1].layers[0].bias[1] = float("nan")
    return model


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"model": torch.nn.Linear(2, 2)}, TypeError, "model: expected a Recon.*, got Linear"),
        (
            {"model": type("Own", (LearnedPrimalDual,), {})()},
            ValueError,
            "model: expected what a f",
        ),
        (
            {"model": NetworkDenoiser(torch.nn.Identity())},
            TypeError,
            r"arguments\.network: expected a value that JSON knows .* \(Identity\)",
        ),
        (
            {"model": nan_model()},
            ValueError,
            r"model: expected finite weights, got .* 1 of 32 tensors \(dual_updates\.1\.layers",
        ),
        ({"model": tiny().to("meta")}, ValueError, "expected weights with values, got device meta"),
        ({"path": 3}, TypeError, "path: expected a str or a path, got int"),
        ({"path": ""}, ValueError, "path: expected the name of a file, got ''"),
        ({"path": ".json"}, ValueError, "path: expected the name of a file, got"),
        ({"path": "net.ckpt"}, ValueError, r"path: expected a name without suffix.*'net\.ckpt'"),
        ({"task": 3}, TypeError, "task: expected str or None, got int"),
        ({"grid": SCAN}, TypeError, "grid: expected Grid or None, got ParallelBeam"),
        ({"scan": GRID}, TypeError, "scan: expected Scan or None, got Grid"),
        ({"metrics": [1]}, TypeError, "metrics: expected Mapping or None, got list"),
        (
            {"metrics": {"a": {"psnr": torch.ones(())}}},
            TypeError,
            r"metrics\.a\.psnr: expected a value that JSON knows .* \(Tensor\)",
        ),
        ({"training": {"loss": [1, float("nan")]}}, ValueError, r"training\.loss\[1\]: .* got nan"),
        ({"about": {3: "x"}}, TypeError, "about: expected strings as keys, got 3"),
    ],
)
def test_mistake_in_saving_is_told_and_leaves_no_file(
    arguments: dict[str, Any],
    kind: type[Exception],
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=match):
        tl.save(**{"model": tiny(), "path": "net"} | arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path: expected a file in a folder that exi"):
        tl.save(tiny(), tmp_path / "no" / "net")


# Weights of the package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of weights that stands in for the package's."""
    folder = tmp_path / "package" / "weights"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files_module.resources, "files", lambda _: folder.parent)
    return folder


def test_shipped_weights_load_by_name(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipped() == {}
    tl.save(tiny(seed=1), package / "lpd-b")
    tl.save(tiny(seed=2), package / "lpd-a", task="ellipses")
    (package / "README.md").write_text("not a card")
    assert list(shipped()) == ["lpd-a", "lpd-b"]
    assert shipped()["lpd-a"]["task"] == "ellipses"
    assert same_bits(tl.load("lpd-a"), tiny(seed=2))
    # a file of that name has to be asked for as a file
    monkeypatch.chdir(tmp_path)
    tl.save(tiny(seed=3), "lpd-a")
    assert same_bits(tl.load("lpd-a"), tiny(seed=2))
    for path in ("./lpd-a", Path("lpd-a"), "lpd-a.json"):
        assert same_bits(tl.load(path), tiny(seed=3))


def test_unknown_name_comes_with_the_nearest(package: Path) -> None:
    refused(FileNotFoundError, "come with tomolearn .there are none yet. or a file", "lpd-elipses")
    for name in ("lpd-ellipses", "unet-ellipses", "gradient"):
        tl.save(tiny(), package / name)
    refused(
        FileNotFoundError,
        r"lpd-elipses: expected the name of weights that come with tomolearn \(gradient, lpd-e.*"
        r"no file lpd-elipses, lpd-elipses\.json or lpd-elipses\.safetensors exists; "
        r"did you mean lpd-ellipses",
        "lpd-elipses",
    )


def test_unsaved_swap_with_shipped_weights_is_recognised(package: Path, saved: Path) -> None:
    tl.save(tiny(seed=4), package / "lpd")
    saved.with_suffix(".safetensors").write_bytes((package / "lpd.safetensors").read_bytes())
    refused(ValueError, r"these are the weights of lpd\.json", saved)


SHIPPED = sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))


def test_shipped_files_come_in_threes() -> None:
    stems = {file.stem for file in WEIGHTS.iterdir() if file.name != "README.md"}
    assert sorted(stems) == SHIPPED == list(shipped())
    for name in SHIPPED:
        assert (WEIGHTS / f"{name}.md").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights(name: str) -> None:
    card = shipped()[name]
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    assert len(content) == card["bytes"] <= 3_000_000
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    model = tl.load(name, kind=card["kind"])
    assert sum(weights.numel() for weights in model.parameters()) == card["parameters"]
    text = (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    assert text == render_card(name, card)
    # all that a reader needs in order to judge the weights, and to make them again
    assert "not recorded" not in text
    commands = (card["training"]["command"], card["training"].get("shipped_by", ""))
    assert not re.search(r"(^|[\s='\"])/", "\n".join(commands)), "a path of one machine"
