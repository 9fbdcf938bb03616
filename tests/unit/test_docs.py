"""The documents say what is there."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_tree_as_it_is() -> None:
    spec = importlib.util.spec_from_file_location("tree", ROOT / "docs" / "tree.py")
    assert spec is not None
    assert spec.loader is not None
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    text = (ROOT / "README.md").read_text()
    assert tree.rewritten(text) == text, "run: python docs/tree.py"
