"""The page "Priors" has every prior, with what is true of it."""

from pathlib import Path

import pytest
from saved_networks import tiny

import tomolearn as tl
from tomolearn._core.checkpoints import files as files_module
from tomolearn.catalogue import priors_table, shipped_priors_commands, shipped_priors_table
from tomolearn.priors import PRIORS, SquaredDifferences, WeaklyConvexRidge
from tomolearn.training.weights import shipped

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page():
    return (DOCS / "priors.md").read_text(encoding="utf-8")


def test_every_prior_stands_there_with_its_parameters(page):
    for name in PRIORS:
        assert f"\n| `{name}` | " in page
    for name, card in shipped().items():
        if card["kind"] != "model":
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert row.split(" | ")[2] == f"{card['parameters']:,}"
            assert tl.priors.load(name).n_parameters == card["parameters"]


def test_tables_say_what_is_certified(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(files_module.resources, "files", lambda _: tmp_path)
    ridge = WeaklyConvexRidge(channels=(3,), kernel_size=3)
    training = {
        "command": "tomolearn train",
        "steps": 1200,
        "hours": 0.5,
        "data": "chests",
        "settings": {"objective": "score-matching"},
    }
    tl.save(ridge, folder / "ridge", training=training, metrics={"psnr": 35.123})
    tl.save(SquaredDifferences(), folder / "smooth")
    tl.save(tiny(), folder / "net")
    rows = [line.strip("| ").split(" | ") for line in shipped_priors_table().splitlines()[2:]]
    assert [row[0] for row in rows] == ["`ridge`", "`smooth`"]
    constant = ridge.lipschitz((64, 64))
    assert rows[0][1:] == [
        "`weakly-convex-ridge`",
        f"{ridge.n_parameters:,}",
        f"weakly, modulus {ridge.convexity:.3g}",
        f"Lipschitz constant of the gradient ≤ {constant:.3g}",
        "score-matching; chests; 1,200 steps; 30 min",
        "35.12",
    ]
    assert rows[1][3] == "yes"
    assert rows[1][5:] == ["not recorded", "–"]
    assert shipped_priors_commands() == "```bash\n# ridge\ntomolearn train\n```\n"
    assert "| `squared-differences` | " in priors_table()
