"""The page's policy."""

import base64
import hashlib

from wise_serve.http.page import content_security_policy

HTML = '<html><style>p{}</style><script type="module">go()</script><script>\nx\n</script></html>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_only_the_pages_own_scripts_and_styles() -> None:
    parts = dict(part.split(" ", 1) for part in content_security_policy(HTML).split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == f"{_hash('go()')} {_hash(chr(10) + 'x' + chr(10))}"
    assert parts["style-src"] == _hash("p{}")
    assert "unsafe" not in str(parts)


def test_a_page_without_scripts_runs_none() -> None:
    assert "script-src 'none'" in content_security_policy("<p>")
