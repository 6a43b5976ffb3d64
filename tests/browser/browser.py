"""A headless Chromium, and the text that a page of a console shows: read from the screen's own pixels."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".browser" / "node_modules"
CHROMIUM = "/usr/bin/chromium"
SCREEN_SECONDS = 60
ALPHABET = "".join(map(chr, range(33, 127)))

# Each cell of a text screen as the bits of its pixels that are lit; "" for an empty one. Rows of cells.
CELLS = """() => {
  const canvas = document.querySelector("#screen canvas");
  const wide = canvas.width === 720 ? 9 : 8, high = 16;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const rows = [];
  for (let top = 0; top + high <= canvas.height; top += high) {
    const row = [];
    for (let left = 0; left + wide <= canvas.width; left += wide) {
      let bits = "";
      for (let y = top; y < top + high; y++)
        for (let x = left; x < left + 8; x++) bits += data[4 * (y * canvas.width + x) + 1] > 64 ? "1" : "0";
      row.push(bits.includes("1") ? BigInt(`0b${bits}`).toString(16) : "");
    }
    rows.push(row);
  }
  return rows;
}"""


class Page:
    """One tab."""

    def __init__(self, browser: "Browser", number: int) -> None:
        self.browser, self.number = browser, number

    def __call__(self, order: str, **fields: Any) -> Any:
        return self.browser(order, page=self.number, **fields)

    def type(self, text: str, *keys: str) -> None:
        self("type", text=text)
        for key in keys:
            self("press", key=key)

    def click(self, selector: str) -> None:
        self("click", selector=selector)

    def status(self, words: str) -> str:
        """What the page says of the connection once it has these words in it."""
        self("wait", expression=f"document.getElementById('status').textContent.includes({json.dumps(words)})")
        return str(self("evaluate", expression="document.getElementById('status').textContent"))

    def connected(self) -> None:
        """It is, and a screen has its picture."""
        self.status("Connected")
        if self("evaluate", expression="document.getElementById('screen') !== null"):
            self("wait", expression="(document.querySelector('#screen canvas')?.width ?? 0) > 300")

    def cells(self) -> list[list[str]]:
        return self("evaluate", expression=f"({CELLS})()")  # type: ignore[no-any-return]

    def terminal(self) -> str:
        """The text of a serial page."""
        return str(self("evaluate", expression="document.querySelector('.xterm-rows').innerText")).replace("\u00a0", " ")


class Browser:
    """Chromium in a process of Node's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, order: str, **fields: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": order, **fields}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the browser ended"
        answer = json.loads(line)
        assert "error" not in answer, (order, fields, answer["error"])
        return answer["value"]

    def open(self, url: str) -> Page:
        return Page(self, self("open", url=url))


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Started with these flags too. Skips where there is none."""
    missing = [path for path in (CHROMIUM, MODULES / "playwright-core") if not Path(path).exists()]
    if missing or shutil.which("node") is None:
        pytest.skip("a browser is needed (make test-browser installs it)")
    process = subprocess.Popen(
        ["node", str(HERE / "driver.js"), str(MODULES), CHROMIUM, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    )
    try:
        yield Browser(process)
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()


class Reader:
    """Reads a text screen, by the letters that the guest showed it first."""

    def __init__(self, alphabet: list[str]) -> None:
        """``alphabet``: the cells of ``ALPHABET``."""
        assert len(set(alphabet)) == len(ALPHABET), "letters that look the same"
        self.letters = dict(zip(alphabet, ALPHABET, strict=True)) | {"": " "}

    def text(self, page: Page) -> str:
        """The rows that are not empty."""
        rows = ("".join(self.letters.get(cell, "\ufffd") for cell in row).rstrip() for row in page.cells())
        return "\n".join(row for row in rows if row)

    def sees(self, page: Page, words: str) -> str:
        return until(lambda: self.text(page), words)


def until(look: Callable[[], str], words: str, seconds: float = SCREEN_SECONDS) -> str:
    """What is seen once the words are in it."""
    end = time.monotonic() + seconds
    while words not in (seen := look()):
        assert time.monotonic() < end, f"no {words!r} in {seen}"
        time.sleep(0.3)
    return seen
