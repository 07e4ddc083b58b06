"""Tables of priors in Markdown: those that one can name, and those that come trained."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tomolearn._core.checkpoints.files import read_card_file, shipped_files
from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.priors import Denoiser, Regulariser

_SHAPE = (64, 64)
"""Images that Lipschitz constants are certified for; they hardly depend on it."""
_NOTHING = "–"
# how metrics of cards begin and end
_TEST, _IMAGES = "psnr", "psnr on "


def priors_table() -> str:
    """Return the priors of the table `tomolearn.priors.PRIORS`, with what is certified of each.

    Of those that are trained it is what holds before training: a certificate follows the weights.
    """
    from tomolearn.priors import PRIORS

    heads = ("prior", "is", "parameters", "convex?", "certificate", "has")
    return _table(heads, [_row(name, kind) for name, kind in PRIORS.items()])


def shipped_priors_table() -> str:
    """Return the priors that come with the package, as their cards and weights say."""
    from tomolearn.priors import load

    heads = ("prior", "class", "parameters", "convex?", "certificate", "trained how", "dB")
    rows: list[tuple[str, ...]] = []
    for name, card in shipped_priors().items():
        prior = load(name, model=None)
        rows.append(
            (
                f"`{name}`",
                f"`{card['model']}`",
                f"{card['parameters']:,}",
                _convexity(prior),
                _certificate(prior),
                _training(card["training"]),
                card_psnr(card["metrics"]) or _NOTHING,
            )
        )
    return _table(heads, rows)


def shipped_priors_commands() -> str:
    """Return the command by which each prior of the package was trained, as a block of Markdown."""
    commands = [
        f"# {name}\n{str(command).strip()}"
        for name, card in shipped_priors().items()
        if (command := card["training"].get("command"))
    ]
    return "```bash\n" + "\n\n".join(commands) + "\n```\n" if commands else ""


def shipped_priors() -> dict[str, dict[str, Any]]:
    """Return the cards of the regularisers and denoisers that come with the package."""
    cards = {name: read_card_file(files) for name, files in shipped_files().items()}
    return {name: card for name, card in cards.items() if card["kind"] != "model"}


def card_psnr(metrics: Mapping[str, Any]) -> str:
    """Return the PSNR of a card: of the test, or else of other images, with what they were."""
    found = {
        key: value
        for key, value in metrics.items()
        if (key.startswith(_IMAGES) or key.endswith(_TEST)) and isinstance(value, (int, float))
    }
    if not found:
        return ""
    key = min(found, key=lambda key: (key != _TEST, not key.startswith(_IMAGES)))
    of = key.removeprefix(_IMAGES).removesuffix(_TEST).strip("_ ")
    return f"{found[key]:.2f} ({of})" if of else f"{found[key]:.2f}"


def _row(name: str, kind: type[Regulariser] | type[Denoiser]) -> tuple[str, ...]:
    about = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")
    maker: Any = kind
    try:
        prior = maker()
    except (TypeError, TomolearnError):  # it is made of another prior, or needs an argument
        return (f"`{name}`", about, "those given", _NOTHING, _NOTHING, _NOTHING)
    parameters = f"{prior.n_parameters:,}" if prior.n_parameters else "none"
    return (f"`{name}`", about, parameters, _convexity(prior), _bounded(kind), _offers(prior))


def _convexity(prior: Regulariser | Denoiser) -> str:
    from tomolearn.priors import Regulariser

    if not isinstance(prior, Regulariser):
        return _NOTHING
    modulus = prior.convexity
    if modulus is None:
        return "not certified"
    if modulus < 0:
        return f"weakly, modulus {modulus:.3g}"
    return f"strongly, modulus {modulus:.3g}" if modulus > 0 else "yes"


def _certificate(prior: Regulariser | Denoiser) -> str:
    import torch

    from tomolearn.priors import Regulariser

    with torch.no_grad():
        constant = prior.lipschitz(_SHAPE)
    if constant is None:
        return _NOTHING
    of = "gradient" if isinstance(prior, Regulariser) else "denoiser"
    return f"Lipschitz constant of the {of} ≤ {constant:.3g}"


def _bounded(kind: type[Regulariser] | type[Denoiser]) -> str:
    """Return of what a class certifies a Lipschitz constant."""
    from tomolearn.priors import Denoiser, Regulariser

    if kind.lipschitz in (Regulariser.lipschitz, Denoiser.lipschitz):
        return _NOTHING
    of = "gradient" if issubclass(kind, Regulariser) else "denoiser"
    return f"Lipschitz constant of the {of}"


def _offers(prior: Regulariser | Denoiser) -> str:
    from tomolearn.priors import ComposedRegulariser, Regulariser

    if not isinstance(prior, Regulariser):
        return "denoiser, blind" if prior.blind else "denoiser"
    has = {
        "gradient": prior.has_gradient,
        "proximal map": prior.has_proximal,
        "splitting": isinstance(prior, ComposedRegulariser),
    }
    return ", ".join(name for name, there in has.items() if there)


def _training(training: Mapping[str, Any]) -> str:
    settings = training.get("settings") or {}
    steps, hours = training.get("steps"), training.get("hours")
    said = (
        settings.get("objective"),
        training.get("data"),
        None if steps is None else f"{steps:,} steps",
        None if hours is None else f"{60 * hours:.0f} min",
    )
    return "; ".join(str(one) for one in said if one) or "not recorded"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    cells = ([" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"
