"""Write the tables of README.md and of the pages, from tables, cards, weights and `results/`.

python docs/tables.py
"""

import re
from functools import partial
from pathlib import Path

from tomolearn.benchmarks.tables import output_block, speed_table
from tomolearn.catalogue import (
    methods_table,
    priors_table,
    shipped_priors_commands,
    shipped_priors_table,
)
from tomolearn.evaluation.benchmarking.leaderboard import leaderboard, short_table

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "results"
PAGES = (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))
TABLES = {
    "methods": methods_table,
    "priors": priors_table,
    "shipped": shipped_priors_table,
    "commands": shipped_priors_commands,
    "leaderboard": lambda: leaderboard(RESULTS),
    "results": lambda: short_table(RESULTS, "ellipses"),
    "rehearsal": lambda: leaderboard(RESULTS / "rehearsal"),
    # files of `tomolearn bench`, by their names
    **{f"bench {one.stem}": partial(speed_table, one) for one in RESULTS.glob("bench/*.json")},
    # what `docs/record.py` kept of commands
    **{f"output {one.stem}": partial(output_block, one) for one in RESULTS.glob("output/*.json")},
}


def rendered(text: str) -> str:
    """Return a page with its tables as they are to be."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            continue
        content = table()
        text = pattern.sub(lambda _, whole=f"{start}{content}{end}": whole, text)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
