"""mkdocs hook: pages that live outside docs/ are part of the site, and links to them are followed.

The README, the client's README and the papers stay where GitHub and PyPI look for them. This hook
adds each as a page and rewrites the links between them and the pages of docs/, so that mkdocs
--strict checks every one of them.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# From a file of the repository to its page, both relative: to the root, and to the site.
PAGES = {
    "README.md": "index.md",
    "clients/python/README.md": "sdk.md",
    "server/wise_serve/miniature/MODEL_CARD.md": "miniature.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Hook of mkdocs: add the pages that are not in docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_rewritten(text, source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Hook of mkdocs: a page's text, with links that work on the site."""
    source = page.file.src_uri
    if source == "decisions/index.md":
        return markdown + _decisions()
    return markdown if source in PAGES.values() else _rewritten(markdown, f"docs/{source}")


def _decisions() -> str:
    """A line a decision, in order: its number, its title."""
    lines = []
    for file in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"* [{title}]({file.name})")
    return "\n".join(lines)


def _rewritten(text: str, source: str) -> str:
    """The text of the file `source`, with its relative links leading to pages of the site."""

    def link(found: re.Match[str]) -> str:
        label, target, anchor = found[1], found[2], found[3] or ""
        path = ((ROOT / source).parent / target).resolve()
        if not path.exists():
            return found[0]  # mkdocs --strict reports it
        inside = path.relative_to(ROOT).as_posix()
        if page := PAGES.get(inside):
            return f"[{label}]({_up(source)}{page}{anchor})"
        if inside.startswith("docs/") and path.is_file():
            return f"[{label}]({_up(source)}{inside.removeprefix('docs/')}{anchor})"
        return label  # code and folders are in the repository, not on the site

    return _LINK.sub(link, text)


def _up(source: str) -> str:
    """From the page of `source` to the site's root."""
    return "" if source in PAGES else "../" * (source.count("/") - 1)
