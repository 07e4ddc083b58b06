"""``tomolearn models``: the trained weights of the package, and cards of any weights."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from tomolearn.cli.output import print_table


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Weights of the package, or the path of your own; prints their card.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the networks and priors that come with the package, or show one's card.

    The name of either is a method of `reconstruct`, `evaluate` and `dicom`.
    Into a file or a pipe a card is written as Markdown.
    """
    from tomolearn._core.checkpoints.cards import render_card
    from tomolearn.training.weights import read_card, shipped

    if name is None:
        cards = shipped()
        if as_json:
            typer.echo(json.dumps(cards, indent=2, ensure_ascii=False))
        elif cards:
            heads = ("name", "kind", "network or prior", "task", "parameters", "MB", "PSNR", "what")
            rows = (_row(found, card) for found, card in cards.items())
            title = "Weights that come with tomolearn"
            print_table(heads, rows, right=heads[4:7], title=title, no_wrap=True)
        else:
            typer.echo(
                "No weights come with this version of tomolearn yet; `tomolearn models PATH` shows "
                "the card of your own."
            )
        return
    found, card = read_card(name)
    if as_json:
        typer.echo(json.dumps(card, indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(render_card(found, card)))
    else:
        typer.echo(render_card(found, card), nl=False)


def _row(name: str, card: dict[str, Any]) -> list[str]:
    what = str(card["about"].get("description", ""))
    from tomolearn.catalogue.priors_table import card_psnr

    size = (f"{card['parameters']:,}", f"{card['bytes'] / 1e6:.2f}", card_psnr(card["metrics"]))
    return [name, card["kind"], card["model"], card["task"] or "", *size, what]
