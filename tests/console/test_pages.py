"""The pages of consoles: all that they load is there, under a policy that lets in nothing else, and no address leads elsewhere."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from nova_async.config import load
from nova_async.console import pages
from nova_async.console.proxy import origins

PAGES = ("vnc_lite.html", "spice_auto.html", "serial.html")
ELSEWHERE = [
    "//evil.test",
    "///evil.test/..",
    "//evil.test/%2e%2e",
    "/\\evil.test",
    "/%5cevil.test",
    "/%2f%2fevil.test",
    "//evil.test/vnc_lite.html",
]
IMPORT = re.compile(r"""^\s*(?:import|export)\b[^;'"]*?(?:from\s+)?['"](\.[^'"]+)['"]""", re.MULTILINE)
LOADED = re.compile(r"""(?:src|href)="([^"]+)\"""")


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    config = load(None, {}, console__public_url="https://c.example/console", console__origins=["https://horizon.example"])
    site, app = web.Application(), web.Application()
    pages.add_to(app, config, origins(config))
    site.add_subapp("/console", app)
    async with TestClient(TestServer(site)) as made:
        yield made


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_and_all_that_it_loads_are_served_from_here(client: TestClient[Any, Any], page: str) -> None:
    waiting, seen = [URL(f"/console/{page}")], set()
    while waiting:
        url = waiting.pop()
        if url in seen:
            continue
        seen.add(url)
        async with client.get(url) as answer:
            assert answer.status == 200, url
            text = await answer.text()
            expected = {"html": "text/html", "css": "text/css"}.get(url.path.rpartition(".")[2], "text/javascript")
            assert answer.content_type == expected, url
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Set-Cookie" not in answer.headers, "SEC-050"
        found = LOADED.findall(text) if expected == "text/html" else IMPORT.findall(text) if expected == "text/javascript" else []
        waiting += [url.join(URL(name)) for name in found]
    assert len(seen) > 3
    assert all(url.path.startswith("/console/") for url in seen)


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_lets_in_no_script_but_ours_and_is_not_kept(client: TestClient[Any, Any], page: str) -> None:
    """SEC-051"""
    async with client.get(f"/console/{page}?token=<script>alert(1)</script>&path=%3Cb%3E") as answer:
        text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["script-src"], rules["base-uri"]) == ("'none'", "'self'", "'none'")
    assert rules["connect-src"] == "'self' wss://c.example"
    assert rules["frame-ancestors"] == "'self' https://c.example https://horizon.example"
    assert "unsafe" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    assert re.findall(r"<script(?![^>]* src=)|\son\w+=|javascript:|style=", text) == []
    assert "alert" not in text


async def test_style_elements_pass_by_a_nonce_that_is_new_each_time(client: TestClient[Any, Any]) -> None:
    nonces = set()
    for _ in range(3):
        async with client.get("/console/serial.html") as answer:
            (nonce,) = re.findall(r"'nonce-([^']+)'", answer.headers["Content-Security-Policy"])
            assert f'content="{nonce}"' in await answer.text()
            nonces.add(nonce)
    assert len(nonces) == 3


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_no_address_leads_to_another_site(client: TestClient[Any, Any], path: str) -> None:
    """SEC-046"""
    for where in (path, f"/console{path}", f"/console/vnc_lite.html?next={path}", f"/console{path}/"):
        url = URL(f"http://127.0.0.1:{client.port}{where}", encoded=True)
        async with client.session.get(url, allow_redirects=False) as answer:
            assert answer.status in (200, 404), where
            assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "path", ["../pages.py", "%2e%2e/pages.py", "vendor/%2e%2e/%2e%2e/pages.py", "vendor/", "vendor", "vendor/novnc-1.7.0/"]
)
async def test_only_the_files_of_the_pages_are_served(client: TestClient[Any, Any], path: str) -> None:
    async with client.session.get(URL(f"http://127.0.0.1:{client.port}/console/{path}", encoded=True)) as answer:
        assert answer.status == 404


def test_what_is_not_ours_has_a_folder_with_its_version_a_licence_and_a_line() -> None:
    vendor = pages.FOLDER / "vendor"
    told = (vendor / "README.md").read_text()
    folders = [folder for folder in vendor.iterdir() if folder.is_dir()]
    assert len(folders) == 3
    for folder in folders:
        assert re.search(r"-\d+\.\d+\.\d+$", folder.name)
        assert f"`{folder.name}`" in told
        assert [file for file in folder.iterdir() if file.name.startswith(("LICENSE", "COPYING"))]
