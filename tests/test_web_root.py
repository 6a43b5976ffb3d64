"""How requests are read before any service sees them."""

import tomllib
from pathlib import Path

import pytest
from aiohttp import http_parser

from nova_async.errors import Invalid
from nova_async.web_root import check_parser


def test_the_compiled_parser_is_in_use_or_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-070"""
    check_parser()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(Invalid, match="install aiohttp from a wheel"):
        check_parser()


def test_versions_with_known_holes_are_not_installed() -> None:
    """SEC-070, SEC-072"""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    floors = dict(line.split(">=") for line in project["dependencies"] if line.count(">=") == 1 and "," not in line)
    assert tuple(map(int, floors["aiohttp"].split("."))) >= (3, 14, 4)
    assert tuple(map(int, floors["asyncpg"].split("."))) >= (0, 30)
