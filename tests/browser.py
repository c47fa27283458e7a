"""Pages as headless Chromium shows them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def chromium(page: Path, folder: Path, *options: str) -> str:
    """Open a page from its file, offline, and return what Chromium prints. folder: for its profile."""
    assert CHROMIUM
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=8000", *options, page.as_uri(),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def scripted(text: str, script: str, page: Path) -> Path:
    """Write an HTML text to ``page``, with a script at the end of its body."""
    end = text.rindex("</body>")  # libraries have this word in their scripts too
    page.write_text(f"{text[:end]}<script>{script}</script>{text[end:]}")
    return page


def framed(page: Path, width: int) -> Path:
    """A page that shows ``page`` in a window of any width, and takes its message as the title.

    Chromium makes its own windows 500 pixels wide at least.
    """
    frame = page.with_name("frame.html")
    frame.write_text(
        f'<iframe src="{page.name}" style="border: 0; width: {width}px; height: 900px"></iframe>'
        '<script>addEventListener("message", said => document.title = said.data)</script>'
        "<title></title>"
    )
    return frame


def titled(page: Path, folder: Path, *options: str) -> Any:
    """The JSON that a page's own script writes into its title."""
    (title,) = re.findall("<title>(.*?)</title>", chromium(page, folder, "--dump-dom", *options))
    return json.loads(title.replace("&quot;", '"'))
