"""When an address of a console is good for nothing: two hosts with real guests, TLS everywhere, consoles in a process of their own."""

import asyncio
import base64
import hashlib
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nova_async.db import Database
from nova_async.errors import Error
from tests.lab.cluster import COMPUTE, HOSTS, SETTLE_SECONDS, Cluster, cluster_of
from tests.lab.conftest import lab_with
from tests.virt.conftest import test_guest

from .browser import Browser, Page, chromium, until

__all__ = ["test_guest"]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("qemu"), pytest.mark.timeout(600)]

KINDS = {"novnc": "vnc", "spice-html5": "spice", "serial": "serial"}
ONE, TWO = HOSTS


@pytest.fixture(scope="module")
def lab() -> Iterator[Path]:
    with lab_with("--consoles", ",".join(KINDS.values())) as state:
        yield state


@pytest.fixture(scope="module")
def browser(lab: Path) -> Iterator[Browser]:
    """It trusts the cloud's issuing authority and no other that it was not born with."""
    issuing = x509.load_pem_x509_certificates((lab / "console/certs/server-cert.pem").read_bytes())[1]
    key = issuing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
    with chromium(f"--ignore-certificate-errors-spki-list={trusted}") as made:
        yield made


@pytest.fixture
async def cluster(lab: Path) -> AsyncIterator[Cluster]:
    async with cluster_of(lab) as made:
        yield made


async def boot(cluster: Cluster, test_guest: Path) -> str:
    flavor = await cluster.flavor("lab.consoles", ram=192, disk=1)
    made = await cluster.boot(await cluster.test_image(test_guest), flavor, availability_zone=f"nova:{ONE}")
    await cluster.reaches(made, "ACTIVE")
    await cluster.booted(made, 1)
    return made


async def addresses(cluster: Cluster, server: str) -> dict[str, str]:
    """Of each kind, as a person has them: a serial one, which is a WebSocket's, with its page in front."""
    found = {}
    for kind, protocol in KINDS.items():
        asked = {"remote_console": {"protocol": protocol, "type": kind}}
        url = (await cluster.ask("POST", f"{COMPUTE}/servers/{server}/remote-consoles", asked))["remote_console"]["url"]
        found[kind] = url.replace("wss://", "https://").replace("/?", "/serial.html?") if kind == "serial" else url
    return found


def opened(browser: Browser, urls: dict[str, str]) -> dict[str, Page]:
    pages = {kind: browser.open(url) for kind, url in urls.items()}
    for page in pages.values():
        page.connected()
    return pages


def refused(browser: Browser, urls: dict[str, str], why: str) -> None:
    """Each page says so, and what to do."""
    for url in urls.values():
        page = browser.open(url)
        assert why in page.status("Refused.")
        page("close")


async def test_a_live_migration_and_a_delete_cut_what_is_open_and_end_its_addresses(
    cluster: Cluster, browser: Browser, test_guest: Path
) -> None:
    """SEC-043"""
    server = await boot(cluster, test_guest)
    before = await addresses(cluster, server)
    pages = opened(browser, before)
    await cluster.act(server, **{"os-migrateLive": {"host": TWO, "block_migration": "auto"}})
    for page in pages.values():
        page.status("Disconnected.")
        page("close")
    await cluster.reaches(server, "ACTIVE")
    assert await cluster.host_of(server) == TWO
    refused(browser, before, "The server was moved or rebuilt since; ask for a new address.")
    after = await addresses(cluster, server)
    pages = opened(browser, after)
    pages["serial"].type("echo Over'-'There", "Enter")
    until(pages["serial"].terminal, "\nOver-There")
    await cluster.delete(server)
    for page in pages.values():
        page.status("Disconnected.")
        page("close")
    refused(browser, after, "The server was deleted.")


async def test_an_address_leads_to_no_other_server(cluster: Cluster, browser: Browser, test_guest: Path) -> None:
    """SEC-043: whatever guest has the port by now, and whatever the books say."""
    mine, other = await boot(cluster, test_guest), await boot(cluster, test_guest)
    for column, why in (("port", "The server was started anew since; ask for a new address."), ("instance_id", "Refused.")):
        urls, others = await addresses(cluster, mine), await addresses(cluster, other)
        await swap(cluster, column, mine, other)
        refused(browser, urls, why)
        refused(browser, others, why)
    for kind, page in opened(browser, await addresses(cluster, mine)).items():
        page("close")
        assert kind in KINDS
    for server in (mine, other):
        await cluster.delete(server)


async def swap(cluster: Cluster, column: str, one: str, other: str) -> None:
    """Let the tokens of two servers have the other's port, or be the other's."""
    assert column in ("port", "instance_id")
    url = tomllib.loads((cluster.state / "console.toml").read_text())["database"]["url"]
    database = await Database.connect(url, size=1)
    query = f"""UPDATE console_tokens t SET {column} = o.{column} FROM console_tokens o
        WHERE t.instance_id = ANY($1::uuid[]) AND o.instance_id = ANY($1::uuid[])
        AND o.instance_id <> t.instance_id AND o.console_type = t.console_type"""  # one of two words
    try:
        async with database.connection() as conn:
            await conn.execute(query, [one, other])
    finally:
        await database.close()


async def test_an_address_expires_and_what_it_opened_before_stays_open(cluster: Cluster, browser: Browser, test_guest: Path) -> None:
    server = await boot(cluster, test_guest)
    paths = [cluster.state / f"serve-{port}.toml" for port in (8781, 8782)]
    texts = [path.read_text() for path in paths]
    try:
        for path, text in zip(paths, texts, strict=True):
            path.write_text(f"{text}token_seconds = 20\n")  # its last section is [console]
        await anew(cluster)
        urls = await addresses(cluster, server)
        pages = opened(browser, urls)
        await expired(cluster, urls["serial"].rpartition("token=")[2])
        refused(browser, urls, "The time of this address is over; ask for a new one.")
        pages["novnc"].type("echo Still-Here > /dev/ttyS0", "Enter")
        until(pages["serial"].terminal, "Still-Here")
        for page in pages.values():
            assert "Connected" in page.status("Connected")
            page("close")
    finally:
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        await anew(cluster)
    await cluster.delete(server)


async def anew(cluster: Cluster) -> None:
    """The application, with its present configuration."""
    before = pids(cluster)
    cluster.kill("serve")
    async with asyncio.timeout(SETTLE_SECONDS):
        while set(before) & set(pids(cluster)):
            await asyncio.sleep(0.1)
    for host in HOSTS:
        await cluster.service(host, "up")


def pids(cluster: Cluster) -> list[str]:
    return [path.read_text() for path in cluster.state.glob("serve-*.pid")]


async def expired(cluster: Cluster, token: str) -> None:
    """Wait until it is. The others were made before it."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                await cluster.admin.ask("GET", f"{COMPUTE}/os-console-auth-tokens/{token}")
            except Error:
                return
            await asyncio.sleep(0.5)
