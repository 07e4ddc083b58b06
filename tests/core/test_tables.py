"""Tables of named things: built in, of other packages, of a user's file."""

import hashlib
import subprocess
import sys

import pytest

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tables import Origin, Table, find_object

GROUP = "tomolearn.test_things"
BUILTIN = {"pi": "math:pi", "path": "os.path:join", "absent": "no_such_module_of_ours:x"}


def table(**options):
    return Table("thing", BUILTIN, group=GROUP, **options)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a package as an installer would, and put it where Python looks."""

    def write(name, source, entries, version="1.2"):
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "\n".join(f"{key} = {target}" for key, target in entries.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")
        monkeypatch.syspath_prepend(folder)
        return folder / f"{name}.py"

    yield write
    for path in tmp_path.glob("site-*"):
        sys.modules.pop(path.name.removeprefix("site-"), None)


@pytest.fixture
def user_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("import beside\n\nrun = []\n\n\nclass Thing:\n    part = beside.value\n")
    (tmp_path / "beside.py").write_text("value = 7\n")
    return file


def test_a_built_in_thing_is_what_stands_at_its_address():
    import math
    import os

    assert table()["pi"] == math.pi
    assert table().find("path") is os.path.join


def test_names_are_listed_without_importing(install):
    install("outside_broken", "raise RuntimeError('not today')", {"broken": "outside_broken:x"})
    found = table()
    assert list(found) == ["pi", "path", "absent", "broken"]
    assert len(found) == 4
    assert {"broken", "absent"} <= set(found)
    assert "other" not in found
    assert "broken" in repr(found)
    assert "outside_broken" not in sys.modules


def test_an_entry_point_adds_to_the_table(install):
    file = install("outside_fine", "value = object()", {"fine": "outside_fine:value"})
    found = table()
    value = found.find("fine")
    assert value is sys.modules["outside_fine"].value
    digest = hashlib.sha256(b"value = object()").hexdigest()
    assert found.origin("fine") == Origin("fine", "outside_fine", "1.2", str(file), digest)
    assert found.spec_of(value) == "fine"


def test_a_path_that_is_added_later_is_seen(install):
    found = table()
    assert "late" not in found
    install("outside_late", "value = 1", {"late": "outside_late:value"})
    assert found.find("late") == 1


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('not today')", "import no_such_module_either", "other = 1"]
)
def test_an_entry_point_that_fails_names_its_package(install, source):
    install("outside_bad", source, {"bad": "outside_bad:x"})
    with pytest.raises(
        ImportError, match=r"thing bad: .*'outside_bad:x' of the package outside_bad"
    ):
        table().find("bad")


def test_an_entry_point_must_not_hide_a_built_in_thing(install):
    install("outside_rival", "x = 1", {"pi": "outside_rival:x"})
    with pytest.raises(TomolearnError, match="package outside_rival hides the one of tomolearn"):
        table().find("path")


def test_two_packages_must_not_have_one_name(install):
    install("outside_one", "x = 1", {"twin": "outside_one:x"})
    install("outside_two", "x = 2", {"twin": "outside_two:x"})
    with pytest.raises(
        TomolearnError, match=r"outside_(one|two) hides .* package outside_(one|two)"
    ):
        list(table())


def test_a_file_of_a_user(user_file):
    found = table()
    thing = found.find(f"{user_file}:Thing")
    assert thing.part == 7  # of the file beside it
    assert found.find(f"{user_file}:Thing.part") == 7
    assert found.find(f"{user_file}:run") is find_object("again", f"{user_file}:run")  # run once
    assert found.spec_of(thing) == f"{user_file}:Thing"
    origin = found.origin(f"{user_file.parent / 'x' / '..' / 'own.py'}:Thing".replace("x/../", ""))
    assert origin.spec == f"{user_file}:Thing"
    assert origin.sha256 == hashlib.sha256(user_file.read_bytes()).hexdigest()


def test_a_module_that_python_can_import():
    found = table()
    assert found.find("fractions:Fraction") is sys.modules["fractions"].Fraction
    assert found.spec_of(sys.modules["fractions"].Fraction) == "fractions:Fraction"
    assert found.origin("fractions:Fraction").file == sys.modules["fractions"].__file__


def test_what_a_script_defines_is_found_in_its_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tomolearn._core.tables import location\nclass Own: pass\nprint(location('x', Own))\n"
    )
    printed = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == f"{script}:Own"


def test_what_cannot_be_found_again():
    class Local:
        pass

    with pytest.raises(TomolearnError, match="thing: expected what a file of Python"):
        table().spec_of(Local)
    with pytest.raises(TomolearnError, match="thing: expected what a file of Python"):
        table().spec_of(3.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pathh", "thing: expected one of pi, path, absent, got 'pathh'; did you mean path"),
        ("own.py", "expected path/to/file.py:name or module:name, got 'own.py'"),
        (":name", "expected path/to/file.py:name or module:name"),
        ("fractions:Fractoin", "that fractions defines, got 'Fractoin'; did you mean Fraction"),
        (7, "thing: expected a name, got 7"),
    ],
)
def test_errors(spec, message):
    with pytest.raises(TomolearnError, match=message):
        table().find(spec)


def test_a_missing_file_or_module():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py: there is no such file"):
        table().find("nowhere.py:name")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        table().find("absent")


def test_a_file_that_fails_is_run_again_when_it_is_mended(tmp_path):
    file = tmp_path / "mended.py"
    file.write_text("raise KeyError('oh')")
    with pytest.raises(KeyError, match="oh"):
        table().find(f"{file}:value")
    file.write_text("value = 5")
    assert table().find(f"{file}:value") == 5


def test_what_is_loaded_is_checked_once():
    seen = []

    def check(where, value):
        seen.append(where)
        if not callable(value):
            raise TomolearnError(f"{where}: expected something callable, got {value!r}")
        return value

    found = table(check=check)
    found.find("path")
    assert found["path"] is found.find("path")
    assert seen == ["path"]
    with pytest.raises(TomolearnError, match=r"pi: expected something callable, got 3\.14"):
        found.find("pi")


def test_a_key_error_is_kept_for_the_mapping():
    with pytest.raises(KeyError):
        table()["nothing"]
    assert table().get("nothing") is None
