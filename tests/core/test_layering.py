"""Who may import whom, read from the sources: no module is run, so a lazy import counts as well.

Each rule is a function from `Sources` to the violations it found, as lines `file:line what`. It is
tried twice: on this project, and on small planted sources that it must object to, or must not.
import-linter knows layers and forbidden imports, but neither names in strings and stubs, nor which
imports wait for a call.
"""

import subprocess
import sys
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from sources import IN_A_STRING, LAZILY, Import, Sources, is_within

ROOT = Path(__file__).resolve().parents[2]

# A layer may import itself and what stands before it. The package's own `__init__` offers names of
# every layer to the user and therefore comes last.
LAYERS = (
    "_core",
    "geometry",
    "kernels",
    "operators",
    "numerics",
    "priors",
    "methods",
    "metrics",
    "models",
    "simulation",
    "measurements",
    "dicom",
    "data",
    "tasks",
    "training",
    "catalogue",
    "evaluation",
    "batch",
    "viewer",
    "benchmarks",
    "cli",
)
BACKENDS = "tomolearn.operators.backends"
BENCHMARKS = "tomolearn.benchmarks"
PROJECTORS = ("astra", "odl", "tomosipo")
KERNELS = "tomolearn.kernels"
COMPILERS = ("numba", "llvmlite")
# Slow to import, and most users of one part of the toolkit never need the others.
LIGHTNING = ("lightning", "pytorch_lightning")
SLOW = (
    *PROJECTORS,
    *COMPILERS,
    *LIGHTNING,
    "matplotlib",
    "skimage",
    "dask",
    "distributed",
    "idc_index",
)
# Modules in here may need a slow package at module level, to subclass what it has, for example.
# They are loaded in a function, when first needed, and never by the `__init__` of their folder.
HOMES_OF_SLOW = {BACKENDS: PROJECTORS, KERNELS: COMPILERS, "tomolearn.training": LIGHTNING}
# What is loaded in a function itself, and so may load the kernels when it is.
LOADERS_OF_KERNELS = (BACKENDS, "tomolearn.methods.variational.compiled_steps")


def layer_of(module: str) -> str:
    """Name of a layer; empty for the package's own `__init__`."""
    return module.split(".")[1] if "." in module else ""


def arrows_point_upwards(sources: Sources) -> list[str]:
    violations = []
    for found in sources.imports("tomolearn"):
        importer, target = layer_of(found.importer), layer_of(found.target)
        # The package's `__init__` and `__main__` may import all; a stray module has its own rule.
        if found.root != "tomolearn" or importer not in LAYERS:
            continue
        if target in LAYERS:
            if LAYERS.index(target) > LAYERS.index(importer):
                violations.append(f"{found}, a later layer")
        # `import tomolearn` would open every layer; the command line stands on all of them.
        elif importer != "cli" and IN_A_STRING not in found.functions:
            violations.append(f"{found}, not from the layer that has it")
    return violations


def no_circles(sources: Sources) -> list[str]:
    """Imports of whatever kind, types and strings aside; through a package, those of its module."""
    graph = {name: set[str]() for name in sources.modules}
    for found in sources.imports():
        if found.for_types_only or {LAZILY, IN_A_STRING} & set(found.functions):
            continue
        home = sources.home(found.target)
        if home is not None and home != found.importer:
            graph[found.importer].add(home)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["circle: " + " <- ".join(error.args[1])]
    return []


def every_module_has_a_layer(sources: Sources) -> list[str]:
    return [
        f"{module.path}:1 {name} is in no layer"
        for name, module in sources.modules.items()
        if is_within(name, "tomolearn") and layer_of(name) not in ("", "__main__", *LAYERS)
    ]


def only_backends_import_projectors(sources: Sources) -> list[str]:
    def is_permitted(found: Import) -> bool:
        # what is measured against others has to call them
        if is_within(found.importer, BACKENDS) or is_within(found.importer, BENCHMARKS):
            return True
        # To describe the scanner in ODL's terms is the geometry's own task: the backends, and any
        # user of ODL, ask it for that. The import waits for the call, so a geometry needs no ODL.
        return (
            found.root == "odl"
            and is_within(found.importer, "tomolearn.geometry")
            and "to_odl" in found.functions
        )

    return [
        str(found)
        for found in sources.imports()
        if found.root in PROJECTORS and not is_permitted(found)
    ]


def only_kernels_import_compilers(sources: Sources) -> list[str]:
    return [
        str(found)
        for found in sources.imports()
        if found.root in COMPILERS and not is_within(found.importer, KERNELS)
    ]


def only_dicom_imports_pydicom(sources: Sources) -> list[str]:
    return [
        str(found)
        for found in sources.imports("tomolearn")
        if found.root == "pydicom" and not is_within(found.importer, "tomolearn.dicom")
    ]


def data_sim_stands_alone(sources: Sources) -> list[str]:
    return [
        str(found)
        for found in sources.imports("data_sim")
        if found.root == "torch"
        or (found.root == "tomolearn" and not is_within(found.target, "tomolearn._core"))
    ]


def slow_packages_wait(sources: Sources) -> list[str]:
    def is_permitted(found: Import) -> bool:
        return any(
            is_within(found.importer, home) and found.root in packages
            for home, packages in HOMES_OF_SLOW.items()
        )

    return [
        f"{found} at module level"
        for found in sources.imports()
        if found.root in SLOW and found.runs_at_import and not is_permitted(found)
    ]


def homes_of_slow_packages_wait(sources: Sources) -> list[str]:
    return [line for home in HOMES_OF_SLOW for line in loaded_too_early(sources, home)]


def loaded_too_early(sources: Sources, home: str) -> list[str]:
    """Follow module-level imports from every module outside of `home`, and its `__init__`."""
    lazy = (home, *LOADERS_OF_KERNELS) if home == KERNELS else (home,)
    reached = {
        name: name
        for name in sources.modules
        if name == home or not any(is_within(name, package) for package in lazy)
    }
    violations = []
    queue = list(reached)
    for name in queue:
        for found in sources.modules[name].imports:
            if not found.runs_at_import:
                continue
            if found.root in SLOW and is_within(name, home):
                violations.append(f"{found} at module level, and {reached[name]} loads it")
            for loaded in sources.loaded_by(found.target):
                if loaded not in reached:
                    reached[loaded] = f"{reached[name]} -> {loaded}"
                    queue.append(loaded)
    return violations


Rule = Callable[[Sources], list[str]]
Files = dict[str, str]

MODEL = "tomolearn/models/planted.py"
METHOD = "tomolearn/methods/planted.py"
GEOMETRY = "tomolearn/geometry/planted.py"
DATA_SIM = "data_sim/planted.py"
RAY = "tomolearn/operators/ray.py"
BACKENDS_INIT = "tomolearn/operators/backends/__init__.py"
LAZY_BACKEND = {
    RAY: "def pick():\n    from .backends.joseph import forward",
    BACKENDS_INIT: "",
    "tomolearn/operators/backends/joseph/__init__.py": "from .native import forward",
    "tomolearn/operators/backends/joseph/native.py": "import astra",
}
TRAIN = "tomolearn/cli/train.py"
TRAINER = "tomolearn/training/lightning_module.py"
TRAINING_INIT = "tomolearn/training/__init__.py"
LAZY_TRAINING = {
    TRAIN: "from tomolearn.training import load\ndef f():\n    from tomolearn.training import run",
    TRAINING_INIT: "from .weights import load",
    "tomolearn/training/weights.py": "",
    "tomolearn/training/run.py": "from .lightning_module import Step",
    TRAINER: "import lightning",
}

OTHER = "tomolearn/models/planted2.py"
CIRCLE = {MODEL: "from .planted2 import b", OTHER: "from .planted import a"}
FACE = {"tomolearn/models/__init__.py": "from .planted import Planted\nfrom .third import Third"}
LAZY_FACE = {
    "tomolearn/models/__init__.py": "import lazy_loader",
    "tomolearn/models/__init__.pyi": "from .planted import Planted as Planted",
}

VIOLATIONS: dict[Rule, list[Files]] = {
    arrows_point_upwards: [
        {MODEL: "from tomolearn.tasks import ellipses"},
        {MODEL: "from ..tasks import ellipses"},
        {MODEL: "def f():\n    from tomolearn import tasks"},
        {MODEL: "import importlib\nimportlib.import_module('tomolearn.cli')"},
        {MODEL: "from tomolearn import fbp"},
        {MODEL: "import tomolearn"},
        {"tomolearn/models/__init__.py": "from ..tasks import ellipses"},
        {"tomolearn/metrics.py": "from .models import blocks"},
        {"tomolearn/dicom/planted.py": "from ..data import lidc"},
        {MODEL: "LOADED = ['distributed', 'tomolearn.batch.work']"},
        {METHOD: "TABLE = {'own': 'tomolearn.models.own:Own'}"},
        {
            "tomolearn/methods/__init__.py": "",
            "tomolearn/methods/__init__.pyi": "from ..data import a",
        },
    ],
    no_circles: [
        CIRCLE,
        CIRCLE | {OTHER: "def f():\n    from .planted import a"},
        CIRCLE | {OTHER: "from tomolearn.models import Planted", **FACE},
        CIRCLE | {OTHER: "from . import Planted", **LAZY_FACE},
        {
            MODEL: "from .planted2 import b",
            OTHER: "from . import planted3",
            "tomolearn/models/planted3.py": "import tomolearn.models.planted",
        },
    ],
    every_module_has_a_layer: [
        {"tomolearn/utils/__init__.py": ""},
        {"tomolearn/helpers.py": ""},
    ],
    only_backends_import_projectors: [
        {MODEL: "def f():\n    import astra.data2d"},
        {MODEL: "f = lambda: __import__('tomosipo')"},
        {MODEL: "def f():\n    optional_import('astra', purpose='', install='')"},
        {MODEL: "def f():\n    optional_import(purpose='', module='astra', install='')"},
        {GEOMETRY: "import odl"},
        {GEOMETRY: "def to_odl():\n    import astra"},
        {MODEL: "def to_odl():\n    import odl"},
    ],
    only_kernels_import_compilers: [
        {RAY: "from numba import njit"},
        {DATA_SIM: "import numba"},
        {BACKENDS_INIT: "import llvmlite"},
    ],
    only_dicom_imports_pydicom: [
        {"tomolearn/data/slices.py": "import pydicom"},
        {"tomolearn/cli.py": "def f():\n    from pydicom import dcmread"},
    ],
    data_sim_stands_alone: [
        {DATA_SIM: "from tomolearn.geometry import Grid"},
        {DATA_SIM: "def f():\n    import torch"},
    ],
    slow_packages_wait: [
        {MODEL: "import matplotlib.pyplot as plt"},
        {MODEL: "class A:\n    import lightning"},
        {MODEL: "plt = optional_import('matplotlib')"},
        {MODEL: "if TYPE_CHECKING:\n    pass\nelse:\n    import astra"},
        {MODEL: "if not TYPE_CHECKING:\n    import astra"},
        {DATA_SIM: "try:\n    import skimage\nexcept ImportError:\n    pass"},
        {TRAINER: "import astra"},
        {"tomolearn/operators/backends/a.py": "import lightning"},
    ],
    homes_of_slow_packages_wait: [
        LAZY_BACKEND | {BACKENDS_INIT: "import astra"},
        LAZY_BACKEND | {BACKENDS_INIT: "from . import joseph"},
        LAZY_BACKEND | {RAY: "from .backends.joseph import forward"},
        LAZY_BACKEND | {RAY: "import tomolearn.operators.backends.joseph.other"},
        LAZY_TRAINING | {TRAINING_INIT: "import lightning"},
        LAZY_TRAINING | {"tomolearn/training/weights.py": "from .run import train"},
        LAZY_TRAINING | {TRAIN: "from tomolearn.training.run import train"},
        LAZY_TRAINING | {"tomolearn/__init__.py": "from .training.lightning_module import Step"},
    ],
}

INNOCENT: dict[Rule, list[Files]] = {
    arrows_point_upwards: [
        {"tomolearn/__init__.py": "from .dicom import read_series"},
        {"tomolearn/__main__.py": "from tomolearn.cli import main"},
        {"tomolearn/cli.py": "import tomolearn\nfrom tomolearn import load"},
        {MODEL: "from ..operators import RayTransform\nfrom tomolearn._core import checks"},
        {"tomolearn/data/a.py": "import data_sim\nfrom ..dicom import find_series"},
        {MODEL: "'Like tomolearn.batch.work, but.'\nGROUP = 'tomolearn.objectives'"},
    ],
    no_circles: [
        FACE
        | {
            MODEL: "from .planted2 import b",
            OTHER: "from tomolearn.models import Third",
            "tomolearn/models/third.py": "",
        },
        LAZY_FACE | {OTHER: ""},
        CIRCLE
        | {
            OTHER: "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .planted import a"
        },
        CIRCLE | {OTHER: "TABLE = {'a': 'tomolearn.models.planted:a'}"},
    ],
    only_backends_import_projectors: [
        {GEOMETRY: "class Grid:\n    def to_odl(self):\n        import odl"},
        {"tomolearn/operators/backends/astra.py": "import astra"},
        {MODEL: "import astral\nA.to('astra')"},
    ],
    only_dicom_imports_pydicom: [
        {"tomolearn/dicom/a.py": "import pydicom"},
        {DATA_SIM: "import pydicom"},
    ],
    slow_packages_wait: [
        {MODEL: "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib"},
        {MODEL: "def draw():\n    import matplotlib.pyplot"},
        {"tomolearn/kernels/a.py": "import numba"},
        {TRAINER: "import lightning.pytorch as pl"},
    ],
    homes_of_slow_packages_wait: [LAZY_BACKEND, LAZY_TRAINING],
}


@pytest.fixture(scope="module")
def project() -> Sources:
    sources = Sources.read(ROOT)
    # Rules about modules that were not found would all hold.
    assert {"tomolearn", "data_sim"} <= set(sources.modules)
    return sources


@pytest.mark.parametrize("rule", VIOLATIONS, ids=lambda rule: rule.__name__)
def test_project_keeps_rule(rule: Rule, project: Sources) -> None:
    violations = rule(project)
    assert not violations, "\n".join(violations)


def try_on_planted(cases: dict[Rule, list[Files]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("rule", "files"),
        [(rule, files) for rule, plants in cases.items() for files in plants],
        ids=lambda value: getattr(value, "__name__", ""),
    )


def plant(root: Path, files: Files) -> Sources:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Sources.read(root)


@try_on_planted(VIOLATIONS)
def test_rule_objects_to_planted_violation(rule: Rule, files: Files, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, files))


@try_on_planted(INNOCENT)
def test_rule_lets_innocent_source_pass(rule: Rule, files: Files, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, files)) == []


def loaded_by(statement: str, unwanted: tuple[str, ...]) -> list[str]:
    """Return which of the packages a statement loads in a fresh interpreter."""
    # What the interpreter itself loads when it starts is not the package's doing.
    program = (
        f"import sys; before = set(sys.modules); {statement}; "
        f"print(*sorted((set(sys.modules) - before) & set({unwanted!r})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_importing_the_package_loads_no_slow_package() -> None:
    assert loaded_by("import tomolearn", ("pandas", "pydicom", *SLOW)) == []


def test_series_are_found_and_batches_planned_without_torch() -> None:
    """Workers load it, while the command line looks for series."""
    assert loaded_by("import tomolearn.batch.run, tomolearn.cli", ("torch", "scipy", *SLOW)) == []
    assert loaded_by("import torch", ("torch",)) == ["torch"]
