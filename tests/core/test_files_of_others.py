"""Files are read, and written, in few places that are made for it; read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# what reads files that anybody may have written, or writes them as they come: where it may stand
HOMES = {
    "json.load": (),
    "json.loads": (
        "tomolearn/_core/reading.py",
        "tomolearn/batch/chunks.py",  # what the run itself wrote
        "tomolearn/batch/ledger.py",
    ),
    "tomllib.load": (),
    "tomllib.loads": ("tomolearn/_core/reading.py",),
    "csv.reader": ("tomolearn/_core/reading.py",),
    "csv.DictReader": (),
    "np.load": ("tomolearn/data/arrays.py",),
    "np.loadtxt": (),
    "np.genfromtxt": (),
    "np.fromfile": (),
    "torch.load": ("tomolearn/training/checkpointing.py", "tomolearn/training/others.py"),
    "zipfile.ZipFile": ("tomolearn/training/checkpointing.py",),
    "h5py.File": (
        "tomolearn/data/arrays.py",
        "tomolearn/data/hdf5.py",
        "tomolearn/data/lidc/cache_file.py",  # parts of the file that is being made
        "tomolearn/data/stored.py",  # names only
        "tomolearn/measurements/readers/hdf5.py",  # of scanners, read in parts
    ),
    "nibabel.load": ("tomolearn/data/volumes.py",),
    "ElementTree.parse": (),
    "ElementTree.fromstring": ("tomolearn/data/lidc/annotations.py",),
    "pickle.load": (),
    "pickle.loads": (
        "tomolearn/batch/process_executor.py",  # of the process that started this one
        "tomolearn/kernels/compilation.py",  # with a key
    ),
    "safetensors.torch.load_file": (),
    "safetensors.torch.save_file": (),
    ".write_text": (),
    ".write_bytes": (),
    "open for writing": ("tomolearn/benchmarks/batch.py",),
}


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of what is called: as written, of a method its own name as well."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        # a copy of plain values is no file
        if name == "json.loads" and ast.unparse(node.args[0]).startswith("json.dumps("):
            continue
        yield node.lineno, name
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("write_text", "write_bytes"):
            yield node.lineno, f".{node.func.attr}"
        modes = [ast.unparse(one) for one in (*node.args, *(key.value for key in node.keywords))]
        if name.rpartition(".")[2] == "open" and any(
            mode.strip("'\"")[:1] in "wx" and mode[:1] in "'\"" and len(mode) < 6 for mode in modes
        ):
            yield node.lineno, "open for writing"


def test_readers_and_writers_are_the_ones_that_are_made_for_it():
    wrong, used = [], set()
    for package in ("tomolearn", "data_sim"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for line, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
                if call in HOMES and name in HOMES[call]:
                    used.add((call, name))
                elif call in HOMES:
                    wrong.append(f"{name}:{line}: {call}")
    assert not wrong
    assert used == {(call, name) for call, homes in HOMES.items() for name in homes}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("json.loads(text)", ["json.loads"]),
        ("json.loads(json.dumps(value))", ["json.dumps"]),
        ("np.load(path)", ["np.load"]),
        ("path.write_text('')", ["path.write_text", ".write_text"]),
        ("path.open('wb')", ["path.open", "open for writing"]),
        ("open(path, mode='x')", ["open", "open for writing"]),
        ("path.open('rb')", ["path.open"]),
        ("path.open()", ["path.open"]),
    ],
)
def test_what_is_found(source, found):
    assert [call for _, call in calls(ast.parse(source))] == found
