"""Write the tables of priors into docs/priors.md, from the tables, cards and weights themselves.

python docs/tables.py
"""

import re
from pathlib import Path

from tomolearn.catalogue import priors_table, shipped_priors_commands, shipped_priors_table

PAGE = Path(__file__).with_name("priors.md")
TABLES = {
    "priors": priors_table,
    "shipped": shipped_priors_table,
    "commands": shipped_priors_commands,
}


def rendered(text: str) -> str:
    """Return the page with its tables as they are to be."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        content = table()
        text = pattern.sub(lambda _, whole=f"{start}{content}{end}": whole, text)
    return text


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
