"""Weights that are damaged, foreign or dangerous: whatever is wrong is told, and nothing runs."""

import pickle
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from saved_networks import CARD, edit, put, refused, same_bits, sign, tiny

import tomolearn as tl


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Stem of a pair of files."""
    tl.save(tiny(), tmp_path / "net", **CARD)
    return tmp_path / "net"


# Damage to the pair of files


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    weights, card = saved.with_suffix(".safetensors"), saved.with_suffix(".json")
    weights.rename(tmp_path / "aside")
    refused(FileNotFoundError, r"net\.safetensors: no such file; .* next to the JSON", saved)
    (tmp_path / "aside").rename(weights)
    card.unlink()
    refused(FileNotFoundError, r"net\.json: no such file; net\.safetensors needs it", saved)
    weights.unlink()
    refused(FileNotFoundError, r"no file .*net, .*net\.json or .*net\.safetensors exists", saved)


def test_foreign_safetensors(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    refused(
        FileNotFoundError,
        r"other\.json: no such file; .*weights from elsewhere have to be put into a network",
        tmp_path / "other.safetensors",
    )


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_truncated_weights(saved: Path, kept: int) -> None:
    weights = saved.with_suffix(".safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:kept])
    found = len(content[:kept])
    refused(ValueError, rf"expected {len(content)} bytes .* got {found} bytes .* cut off", saved)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_truncated_weights_with_a_matching_signature(saved: Path, kept: int) -> None:
    weights = saved.with_suffix(".safetensors")
    content = weights.read_bytes()[:kept]
    weights.write_bytes(content)
    sign(saved, content)
    refused(ValueError, r"net\.safetensors: expected a complete safetensors file, got", saved)


def test_single_changed_bit(saved: Path) -> None:
    weights = saved.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-10] ^= 1
    weights.write_bytes(content)
    refused(ValueError, r"net\.safetensors: expected .* SHA-256 .* was changed or replaced", saved)


def test_swapped_files_say_whose_they_are(saved: Path, tmp_path: Path) -> None:
    tl.save(tiny(seed=1), tmp_path / "other")
    (tmp_path / "broken.json").write_text("{")
    weights, others = saved.with_suffix(".safetensors"), tmp_path / "other.safetensors"
    weights.rename(tmp_path / "aside")
    others.rename(weights)
    (tmp_path / "aside").rename(others)
    refused(ValueError, r"net\.safetensors: .*; these are the weights of other\.json", saved)
    refused(ValueError, r"other\.safetensors: .*; these are the weights of net\.json", others)


def test_pair_may_be_renamed_together(saved: Path, tmp_path: Path) -> None:
    for suffix in (".json", ".safetensors"):
        saved.with_suffix(suffix).rename((tmp_path / "better").with_suffix(suffix))
    assert same_bits(tl.load(tmp_path / "better"), tiny())


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "torch before 1.6", "pickle"])
@pytest.mark.parametrize("card", [True, False], ids=["with JSON", "without JSON"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_pickle_is_recognised_and_not_run(
    how: str, card: bool, signed: bool, saved: Path, tmp_path: Path
) -> None:
    trap, weights = Trap(tmp_path / "sprung"), saved.with_suffix(".safetensors")
    if how == "pickle":
        weights.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, weights, _use_new_zipfile_serialization=how == "torch")
    content = weights.read_bytes()
    if signed:
        sign(saved, content)
    if not card:
        saved.with_suffix(".json").unlink()
    refused(ValueError, r"net\.safetensors: expected a safetensors file, got a pickle", saved)
    assert not (tmp_path / "sprung").exists()
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(content)
    refused(ValueError, r"last\.ckpt: expected a safetensors file, got a pickle", checkpoint)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(trap))  # the trap works
    assert (tmp_path / "sprung").exists()


def test_header_whose_length_looks_like_a_pickle_is_read(saved: Path) -> None:
    # 0x0280 bytes of header: the file starts with 80 02, the first bytes of a pickle
    tensors = {"a": torch.ones(2)}
    content = safetensors.torch.save(tensors)
    (length,) = struct.unpack("<Q", content[:8])
    padded = (
        struct.pack("<Q", 0x0280) + content[8 : 8 + length].ljust(0x0280) + content[8 + length :]
    )
    assert safetensors.torch.load(padded)["a"].tolist() == [1, 1]
    saved.with_suffix(".safetensors").write_bytes(padded)
    sign(saved, padded)
    refused(ValueError, r"32 missing \(.*\); 1 unexpected \(a\)", saved)


def test_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(ValueError, r"notes\.txt: expected a name that ends in \.safet", tmp_path / "notes.txt")


# Damage to the JSON


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected a JSON file, got an error"),
        ("{", "expected a JSON file, got an error"),
        ("[" * 100_000, "expected a JSON file, got an error"),
        ('{"format": NaN}', "expected a JSON file, got an error: NaN is not a number of JSON"),
        ("\udcff", "expected a JSON file, got an error: 'utf-8' codec"),
        ("[1]", "expected a JSON object, got list"),
        ("{}", "expected a file that tomolearn.save wrote, .* got None"),
        ('{"format": "pt"}', "expected a file that tomolearn.save wrote, .* got 'pt'"),
    ],
)
def test_json_that_is_none_of_ours(saved: Path, text: str, match: str) -> None:
    saved.with_suffix(".json").write_bytes(text.encode(errors="surrogateescape"))
    refused(ValueError, rf"net\.json: {match}", saved)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 3}, "version: expected at most 2, got 3; a newer tomolearn wrote"),
        ({"version": 0}, "version: expected an integer >= 1, got 0"),
        ({"version": True}, "version: expected an integer >= 1, got True"),
        (
            {"kind": "sampler"},
            "kind: expected model, denoiser, regulariser, got 'sampler'; a newer",
        ),
        ({"kind": "denoiser"}, r"expected a model, got a denoiser; .*kind=\"denoiser\"\) loads it"),
        ({"sha256": 3}, "sha256: expected a string, got 3"),
        ({"bytes": 1.5}, r"bytes: expected an integer, got 1\.5"),
        ({"task": []}, r"task: expected a string or null, got \[\]"),
        ({"metrics": None}, "metrics: expected an object, got None"),
        ({"arguments": []}, r"arguments: expected an object, got \[\]"),
        ({"trianing": {}}, "expected the keys format, .*, got unknown 'trianing'"),
        (
            {"model": "learned-primal-duel"},
            "model: expected one of .*, got 'learned-primal-duel'.*learned-primal-dual",
        ),
        ({"arguments": {"itarations": 2}}, "arguments.*itarations.*iterations"),
        ({"arguments": {"iterations": 0}}, "iterations: expected an integer >= 1, got 0"),
        ({"arguments": {"iterations": "2"}}, "iterations: expected an integer >= 1, got '2'"),
        ({"parameters": 7}, r"parameters: expected \d+, what the network has, got 7"),
    ],
)
def test_card_with_a_wrong_value(saved: Path, change: dict[str, Any], match: str) -> None:
    edit(saved, lambda card: card.update(change))
    refused(ValueError, rf"net\.json: {match}", saved)


def test_card_without_a_key(saved: Path) -> None:
    def remove(card: dict[str, Any]) -> None:
        del card["sha256"], card["model"]

    edit(saved, remove)
    refused(ValueError, r"net\.json: expected the keys format, .*, got no 'model', no 'sha", saved)


# Tensors that are not those of the network


def test_tensors_of_another_network(saved: Path) -> None:
    edit(saved, lambda card: card["arguments"].update(iterations=3))
    refused(
        ValueError,
        r"net\.safetensors: expected the 48 tensors .* got 16 missing \(dual_updates\.2\.\S+, "
        r"dual_updates\.2\.\S+, dual_updates\.2\.\S+ and 13 more\)",
        saved,
    )
    edit(saved, lambda card: card["arguments"].update(iterations=1))
    refused(ValueError, r"expected the 16 tensors .* got 16 unexpected \(.* and 13 more\)", saved)
    edit(saved, lambda card: card["arguments"].update(iterations=2, n_primal=4))
    refused(
        ValueError,
        r"got \d+ of another shape \(primal_updates\.0\.layers\.0\.weight: \(4, 5, 3, 3\) "
        r"expected, \(4, 4, 3, 3\) came",
        saved,
    )


def test_all_problems_are_told_at_once(saved: Path) -> None:
    tensors = dict(tiny().state_dict())
    name = "dual_updates.0.layers.0.bias"
    tensors["extra"] = tensors.pop(name)
    tensors["primal_updates.1.layers.4.bias"] = torch.zeros(3, dtype=torch.int32)
    tensors["primal_updates.1.layers.2.bias"] = torch.zeros(4, 1)
    put(saved, tensors)
    refused(
        ValueError,
        rf"1 missing \({re.escape(name)}\); 1 unexpected \(extra\); 1 of another shape "
        r"\(\S*2\.bias: \(4,\) expected, \(4, 1\) came\); 1 of another kind .*4\.bias: "
        r"torch\.float32 expected, torch\.int32 came",
        saved,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(saved: Path, value: float) -> None:
    tensors = dict(tiny().state_dict())
    tensors["dual_updates.0.layers.0.bias"][2] = value
    put(saved, tensors)
    refused(
        ValueError,
        r"net\.safetensors: expected finite weights, got nan or inf in 1 of 32 tensors \(dual_upd",
        saved,
    )


@pytest.mark.parametrize(
    ("device", "kind", "match"),
    [
        ("gpu", ValueError, "device: expected cpu, cuda or cuda:<number>, got 'gpu'"),
        (0, TypeError, "device: expected a str or torch.device, got int"),
        (
            f"cuda:{torch.cuda.device_count()}",
            ValueError,
            r"expected one that torch sees, \d+ of CUDA, got 'cuda:\d+'",
        ),
    ],
)
def test_wrong_device(saved: Path, device: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        tl.load(saved, device=device)


def test_path_that_is_none() -> None:
    refused(TypeError, "path: expected a str or a path, got int", 3)  # type: ignore[arg-type]
    refused(ValueError, "path: expected the name of a file, got ''", "")
