"""What the site generates: the reference of each room, and the scripts that the gallery runs."""

import importlib
import inspect
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
ROOMS = (
    "geometry",
    "operators",
    "simulation",
    "measurements",
    "methods",
    "priors",
    "models",
    "tasks",
    "data",
    "training",
    "evaluation",
    "metrics",
    "catalogue",
    "dicom",
    "batch",
    "viewer",
)
FACE = "tomolearn"
# What a reader may give a script to have it end sooner.
SHORT = {
    "bilevel_1d.py": ["1", "MAID"],
    "deblurring.py": ["0.05", "3"],
    "iterate_more.py": ["1"],
    "random_starts.py": ["--iterations", "3"],
    "many_views.py": ["1"],
    "deep_image_prior.py": ["250"],
    "posterior_sampling.py": [
        *("--images", "1"),
        *("--methods", "dds(prior=diffusion-ellipses,samples=2,steps=10)"),
    ],
}


def write_reference(folder: Path) -> None:
    """Write a page for the public face and one for each room, of what they export."""
    folder.mkdir(exist_ok=True)
    names = {FACE: FACE, **{room: f"{FACE}.{room}" for room in ROOMS}}
    entries = []
    for name, module in names.items():
        write_if_changed(folder / f"{name}.rst", _page(module))
        entries.append(f"   {name}\n")
    title = "Reference\n=========\n\n"
    title += "What `import tomolearn as tl` offers, and what each room exports.\n\n"
    write_if_changed(
        folder / "index.rst", f"{title}.. toctree::\n   :maxdepth: 1\n\n{''.join(entries)}"
    )


def _page(name: str) -> str:
    """Return the page of a module: a table of its names, and all that is not at home elsewhere."""
    module = importlib.import_module(name)
    listed, documented = [], []
    for one in sorted(_exports(module), key=str.lower):
        home = _home(one) if name == FACE else None
        listed.append(f"   ~{home or name}.{one}\n")
        if home is None:
            documented.append(_directive(f"{name}.{one}", getattr(module, one)))
    summary = (module.__doc__ or "").partition("\n")[0]
    table = f".. autosummary::\n   :nosignatures:\n\n{''.join(listed)}"
    return "\n".join([f"{name}\n{'=' * len(name)}\n\n{summary}\n", table, *documented])


def _exports(module: ModuleType) -> list[str]:
    """Return the public names of a module that are no modules themselves."""
    own = [name for name, value in vars(module).items() if inspect.isfunction(value)]
    names = getattr(module, "__all__", own)
    return [name for name in names if not name.startswith("_") and _is_documented(module, name)]


def _is_documented(module: ModuleType, name: str) -> bool:
    """Tell modules and aliases of types, which have no docstring of their own."""
    return not isinstance(getattr(module, name), (ModuleType, GenericAlias))


def _home(name: str) -> str | None:
    """Return the room in which something of the public face is documented."""
    value = getattr(importlib.import_module(FACE), name)
    for room in ROOMS:
        module = importlib.import_module(f"{FACE}.{room}")
        if getattr(module, name, None) is value and name in _exports(module):
            return module.__name__
    return None


def _directive(name: str, value: Any) -> str:
    if inspect.isclass(value):
        return f".. autoclass:: {name}\n   :members:\n   :show-inheritance:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n"
    return f".. autodata:: {name}\n   :no-value:\n"


def copy_scripts(folder: Path) -> None:
    """Copy the scripts of `examples/`, so that what they write does not lie among them.

    The first line of a script's docstring becomes a heading.
    """
    folder.mkdir(exist_ok=True)
    scripts = sorted((ROOT / "examples").glob("*.py"))
    for old in folder.glob("*.py"):
        if old.name not in {script.name for script in scripts}:
            old.unlink()
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        found = re.match(r'"""(.*?)\.?(\n\n|""")', text, re.DOTALL)
        if found is None:
            raise ValueError(f"{script.name}: expected a docstring at its top")
        title = found[1].replace("\n", " ")
        end = '\n"""' if found[2] == '"""' else "\n\n"
        head = f'"""\n{title}\n{"=" * len(title)}{end}'
        write_if_changed(folder / script.name, head + text[found.end() :])
    shutil.copy(ROOT / "docs" / "gallery_header.rst", folder / "GALLERY_HEADER.rst")


def write_if_changed(file: Path, text: str) -> None:
    """Write a file whose text is another one; the rest need not be built again."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def short_arguments(gallery: Any, variables: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a script."""
    return SHORT.get(Path(variables["src_file"]).name, [])


def written_figures(block: Any, variables: dict[str, Any], gallery: Any, **_: Any) -> str:
    """Take the pictures that a script wrote into its folder."""
    from sphinx_gallery.scrapers import figure_rst

    shown = []
    for picture in sorted(Path(os.path.dirname(variables["src_file"])).glob("*.png")):
        target = next(variables["image_path_iterator"])
        shutil.move(picture, target)
        shown.append(figure_rst([target], gallery["src_dir"]))
    return "\n".join(shown)


def plain_signs(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Let stars and bars in docstrings, as in ``(*batch, rows)`` and ``|x|``, be themselves."""
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"(?<![\w*\\])\*(?=\w)|\|", r"\\\g<0>", part) for part in parts[::2]]
        lines[i] = "".join(parts)
