"""Run a command of a page and keep what it prints in `results/output/`, for `docs/tables.py`.

python docs/record.py NAME                   the command again that is kept by this name
python docs/record.py NAME COMMAND           another one, in the shell; DATA stands for --data
python docs/record.py NAME COMMAND --data FOLDER

Several commands stand on lines of their own; one that fails leaves the file as it was. Figures
that a command draws are written where it says.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tomolearn.evaluation.benchmarking.run import machine

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "results" / "output"
_WIDTH = 110


def record(name: str, command: str | None, data: Path | None) -> None:
    """Run a command, from the folder of the repository, and write what it printed."""
    path = OUTPUT / f"{name}.json"
    if command is None:
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
    if "DATA" in command and data is None:
        sys.exit(f"error: --data: expected a folder, for DATA in {command!r}")
    on, began = machine(), time.perf_counter()
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("DATA", shlex.quote(str(data)))],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(_WIDTH), "NO_COLOR": "1", "MPLBACKEND": "Agg"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    printed = [line.rstrip() for line in run.stdout.splitlines()]
    values = {
        "command": command,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": on,
        "printed": [line if data is None else line.replace(str(data), "DATA") for line in printed],
    }
    OUTPUT.mkdir(exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("command", nargs="?")
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    record(given.name, given.command, given.data)
