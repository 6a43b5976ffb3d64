"""The browser, one for each module."""

from collections.abc import Iterator

import pytest

from .browser import Browser


@pytest.fixture(autouse=True)
def closed(browser: Browser) -> Iterator[None]:
    """No page stays open; none ever showed a dialog, had an error of its own, or loaded what its policy does not let in."""
    yield
    browser("clear")
    assert browser("said") == []
