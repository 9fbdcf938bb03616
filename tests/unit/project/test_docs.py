"""The documents agree with the code."""

import re
from pathlib import Path

from wise_serve.http.problems import leaves, status_of

ROOT = Path(__file__).parents[3]


def test_the_promises_name_tests_that_exist() -> None:
    """`tests/file.py::test`, or `::test` of the file named last before it."""
    text = (ROOT / "docs" / "operations.md").read_text()
    promises = text.partition("## Promises")[2].partition("\n## ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", promises)
    assert len(named) > 20
    file = ""
    for path, test in named:
        file = path or file
        content = (ROOT / file).read_text()
        assert not test or re.search(rf"^(async )?def {test}\b", content, re.M), f"{file}::{test}"


def test_the_api_page_names_every_error() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for kind in leaves():
        assert re.search(rf"^\| {status_of(kind)} \| .*`{kind.code}`", text, re.M), kind.code
