"""Writes the table of settings into docs/operations.md: `make docs`. --check only compares."""

import argparse
import sys
from pathlib import Path
from typing import Final

from wise_serve.cli.flags import flag_of, variable_of
from wise_serve.settings import GROUPS, Settings

PAGE: Final = Path(__file__).with_name("operations.md")
BEGIN: Final = "<!-- settings: written by `make docs` -->"
END: Final = "<!-- settings end -->"


def table() -> str:
    """All settings in Markdown, grouped as `wise-serve serve --help` groups them."""
    lines = []
    for title, names in GROUPS.items():
        lines += ["", f"### {title}", "", "| flag | variable | default | |", "|---|---|---|---|"]
        for name in names:
            field = Settings.model_fields[name]
            default = "" if field.default in (None, ()) else f"`{field.default}`"
            row = (
                f"`{flag_of(name)}`",
                f"`{variable_of(name)}`",
                default,
                _cell(field.description),
            )
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def current(page: str) -> str:
    """The page with the table as it should be. Raises ValueError without the two markers."""
    before, rest = page.split(f"{BEGIN}\n", 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if it is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    fresh = current(page)
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return int(check and page != fresh)


if __name__ == "__main__":
    sys.exit(main())
