"""The pages of consoles as a person has them: Chromium, the proxy, and guests under QEMU."""

import asyncio
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import real_guests_can_run, test_guest
from tests.e2e.running import OpenStack, RealHost, RunningCloud, real_cloud

from .browser import ALPHABET, Browser, Page, Reader, chromium, until

__all__ = ["real_guests_can_run", "test_guest"]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("qemu"), pytest.mark.timeout(600)]

SHOTS = Path(__file__).parents[2] / "docs" / "consoles"
ALL = '["vnc", "spice", "serial"]'
PROMPT = "testguest first login: root (no password)"
SHELL = "testguest#"
TRIES = 3  # a guest that is too busy to read its keyboard, which keeps 16 bytes, loses keys
NAME = "<img src=x onerror=alert(1)>\"'&amp;"


class Consoles:
    """The server ``first``, its consoles, and a browser that is opened on them."""

    def __init__(self, cloud: RunningCloud, host: RealHost, openstack: OpenStack, browser: Browser) -> None:
        self.cloud, self.host, self.openstack, self.browser = cloud, host, openstack, browser
        self.reader: Reader

    def address(self, kind: str, server: str = "first") -> str:
        """As the client prints it; a serial one, which is a WebSocket's, with its page in front."""
        url = str(self.openstack.show(f"console url show --{kind} {server}")["url"])
        return url.replace("ws://", "http://").replace("/?", "/serial.html?") if kind == "serial" else url

    def socket(self, kind: str, server: str = "first") -> str:
        """The WebSocket that the page of an address opens."""
        token = re.search("[0-9a-f]{64}", self.address(kind, server))
        assert token
        return f"ws://{self.host.address}:8774/console/?token={token[0]}"

    def open(self, kind: str, server: str = "first") -> Page:
        page = self.browser.open(self.address(kind, server))
        page.connected()
        return page

    def logged(self, words: str) -> str:
        """The guest's own output once it has these words in it."""
        return until(lambda: self.openstack("console log show first"), words)

    def is_logged(self, words: str) -> bool:
        """Whether they are soon in the guest's own output."""
        try:
            return bool(until(lambda: self.openstack("console log show first"), words, 20))
        except AssertionError:
            return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def consoles(real_guests_can_run: None, test_guest: Path, browser: Browser) -> Iterator[Consoles]:
    with real_cloud(test_guest, NOVA_ASYNC_COMPUTE_CONSOLES=ALL) as (cloud, host):
        cloud.start()
        cloud.wait_for("log in:", 240)
        with cloud.openstack() as openstack:
            made = Consoles(cloud, host, openstack, browser)
            made.reader = learn(made)
            yield made
        cloud.has_a_clean_log()


def learn(consoles: Consoles) -> Reader:
    """Let the guest show all letters at the top of its screen."""
    serial, screen = consoles.open("serial"), consoles.open("novnc")
    serial.type('for n in $(seq 33 79) - $(seq 80 126); do [ $n = - ] && echo || printf "\\\\$(printf %o $n)"; done > /run/all', "Enter")
    serial.type("(printf '\\033[2J\\033[H'; cat /run/all; echo; echo) > /dev/tty1; echo DR'AWN'", "Enter")
    until(serial.terminal, "DRAWN")
    wanted = [47, len(ALPHABET) - 47]
    cells: list[list[str]] = []

    def drawn() -> str:
        cells[:] = screen.cells()[:2]
        return "all" if [len([cell for cell in row if cell]) for row in cells] == wanted else repr(wanted)

    until(drawn, "all")
    for page in (serial, screen):
        page("close")
    return Reader([cell for row in cells for cell in row if cell])


# What is seen, and what is typed


@pytest.mark.parametrize("kind", ["novnc", "spice"])
def test_a_screen_shows_the_login_prompt_and_takes_keys(consoles: Consoles, kind: str) -> None:
    page, said = consoles.open(kind), kind.upper()
    page.type(f"clear; echo 'Left'By-{said}; exit", "Enter")
    consoles.reader.sees(page, f"LeftBy-{said}\n{PROMPT}\n")
    consoles.reader.sees(page, SHELL)
    page("screenshot", file=str(SHOTS / f"{kind}.png"))
    # the keys of a US keyboard, with and without Shift; the cursor's keys; Backspace; Ctrl with a letter
    page.type("forgotten", "Control+c")
    page.type(f"cho '{said} aZ09 !@#$%^&*()_+-=[]{{}};:\",.<>/?|`~\\' | tee /dev/ttyS0x", "Backspace", "Home")
    page.type("e", "Enter")
    wanted = f'{said} aZ09 !@#$%^&*()_+-=[]{{}};:",.<>/?|`~\\'
    consoles.logged(wanted)
    assert wanted in consoles.reader.sees(page, "\n" + wanted)
    page("close")


def test_a_serial_page_shows_the_login_prompt_and_takes_keys(consoles: Consoles) -> None:
    page = consoles.open("serial")
    page.type("exit", "Enter")
    until(page.terminal, PROMPT)
    until(page.terminal, SHELL)
    page("screenshot", file=str(SHOTS / "serial.png"))
    page.type("forgotten", "Control+c")
    page.type("cho Wörter 'aZ09{}' | tr a-z b-zax", "Backspace", "Home")
    page.type("e", "Enter")
    consoles.logged("Wösufs bZ09{}")
    page("close")


def test_a_ticket_of_spice_begins_with_its_zeros(consoles: Consoles) -> None:
    """One in 256 does, and each channel of a page sends one: the server took it for a wrong password."""
    page = consoles.open("spice")
    sent = """import("./vendor/spice-html5-0.3.0/spiceconn.js").then(({ SpiceConn }) => {
        let ticket;
        SpiceConn.prototype.send_ticket.call({ ws: { send: (bytes) => ticket = new Uint8Array(bytes) } }, [7, 8]);
        return [...ticket.slice(4)];  // after the mechanism
    })"""
    assert page("evaluate", expression=sent) == [*[0] * 126, 7, 8]
    page("close")


@pytest.mark.parametrize("kind", ["novnc", "spice", "serial"])
def test_text_of_the_readers_own_machine_can_be_typed_and_the_screen_filled(consoles: Consoles, kind: str) -> None:
    page = consoles.open(kind)
    page.click("#text-open")
    page("fill", selector="#text", text=f"echo 'By_Hand {kind} A|b' > /dev/ttyS0\n")
    for _ in range(TRIES):
        page.click("#text-type")
        if kind == "serial":
            page("press", key="Enter")
        if consoles.is_logged(f"By_Hand {kind} A|b"):
            break
        page("press", key="Control+c")
    consoles.logged(f"By_Hand {kind} A|b")
    page.click("#full-screen")
    page("wait", expression="document.fullscreenElement !== null")
    page.click("#full-screen")
    page("wait", expression="document.fullscreenElement === null")
    page("resize", width=500, height=400)
    wide = page("evaluate", expression="document.documentElement.scrollWidth")
    assert wide <= 500, "the page is wider than its window"
    page.type("echo Small-Window > /dev/ttyS0", "Enter")
    consoles.logged("Small-Window")
    page("close")


# An agent, as spice-vdagent is one: it opens the channel, says that it knows clipboards, and has or wants a text.
AGENT = """for p in /sys/class/virtio-ports/vport*; do [ $(cat $p/name) = com.redhat.spice.0 ] && exec 3<>/dev/${p##*/}; done
i() { printf "\\\\$(printf %o $1)\\\\0\\\\0\\\\0"; }
m() { i 1; i $((20+$2)); i 1; i $1; i 0; i 0; i $2; }
(m 6 8; i 0; i 32) >&3; echo AGENT'-'THERE
"""
GUEST_COPIES = "(m 7 4; i 1) >&3; (m 4 16; i 1; printf copied-there) >&3; echo GUEST'-'COPIED\n"
GUEST_PASTES = (
    "until grep -q copied-here /run/got; do (m 8 4; i 1) >&3; timeout 1 cat <&3 >>/run/got; done;"
    " exec 3<&-; grep -o copied-here-[A-Z]* /run/got\n"
)


def test_an_agent_in_the_guest_shares_its_clipboard_by_spice(consoles: Consoles) -> None:
    page, serial = consoles.open("spice"), consoles.open("serial")
    for line in AGENT.splitlines():
        serial.type(line, "Enter")
    until(serial.terminal, "\nAGENT-THERE")
    page("wait", expression="!document.getElementById('text-copy').hidden")
    serial.type(GUEST_COPIES.rstrip("\n"), "Enter")
    until(serial.terminal, "\nGUEST-COPIED")
    page("wait", expression="document.getElementById('text').value === 'copied-there'")
    page.click("#text-open")
    page("fill", selector="#text", text="copied-here-WHOLE")
    page.click("#text-copy")
    serial.type(GUEST_PASTES.rstrip("\n"), "Enter")
    until(serial.terminal, "\ncopied-here-WHOLE")


# What is refused


@contextmanager
def another_site(host: RealHost) -> Iterator[str]:
    """The address of a page that somebody else serves."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title>")

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer((host.ours, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host.ours}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def opening(socket: str, protocol: str = "binary", then: str = 'done("open")') -> str:
    """How a connection goes that a page's script opens; ``then``: what it does once it is open."""
    return f"""new Promise((done) => {{
        const socket = new WebSocket("{socket}", ["{protocol}"]);
        socket.onopen = () => {{ {then}; }};
        socket.onclose = (event) => done(`closed ${{event.code}}`);
    }})"""


@pytest.mark.parametrize("kind", ["novnc", "spice", "serial"])
def test_another_site_cannot_open_a_console(consoles: Consoles, kind: str) -> None:
    """SEC-044"""
    socket = consoles.socket(kind)
    with another_site(consoles.host) as url:
        page = consoles.browser.open(url)
        assert page("evaluate", expression=opening(socket)) == "closed 1006"
        page("close")
    own = consoles.browser.open(consoles.address("serial"))
    assert own("evaluate", expression=opening(socket)) == "open", "it is refused for another reason"
    own("close")


@pytest.mark.parametrize("kind", ["novnc", "spice", "serial"])
def test_another_sub_protocol_is_refused_and_a_frame_that_is_too_large_ends_its_connection(consoles: Consoles, kind: str) -> None:
    socket = consoles.socket(kind)
    page, beside = consoles.browser.open(consoles.address("serial")), consoles.open("novnc")
    assert page("evaluate", expression=opening(socket, "base64")) == "closed 1006"
    assert page("evaluate", expression=opening(socket, then="socket.send(new Uint8Array(1048577))")) == "closed 1009"
    beside.type(f"echo Beside-{kind} > /dev/ttyS0", "Enter")
    consoles.logged(f"Beside-{kind}")
    beside("close")
    page("close")


def test_a_page_that_does_not_read_holds_up_nobody_and_costs_no_memory(consoles: Consoles) -> None:
    screen, serial = consoles.open("novnc"), consoles.open("serial")
    serial.type("yes $(seq 20) | head -c 100000000 #", "Control+u")  # the line is free
    serial("close")
    page = consoles.browser.open(consoles.address("novnc"))
    page.connected()
    slow = f"""(async () => {{
        const stream = new WebSocketStream("{consoles.socket("serial")}", {{ protocols: ["binary"] }});
        const {{ writable }} = await stream.opened;
        await writable.getWriter().write(new TextEncoder().encode("yes $(seq 20) | head -c 100000000\\n"));
        window.unread = stream;
        return "flows";
    }})()"""
    ours = psutil.Process(consoles.cloud.process.pid if consoles.cloud.process else 0)
    before = ours.memory_info().rss
    assert page("evaluate", expression=slow) == "flows"
    for number in range(3):
        screen.type(f"echo Meanwhile-{number}", "Enter")
        consoles.reader.sees(screen, f"\nMeanwhile-{number}")
    assert ours.memory_info().rss - before < 32 * 2**20
    page("close")
    serial = consoles.open("serial")
    serial("press", key="Control+c")
    serial.type("echo Free'-'Again", "Enter")
    until(serial.terminal, "\nFree-Again")


def test_a_serial_line_goes_to_whoever_opens_it_last_as_does_spice_and_a_screen_is_for_all(consoles: Consoles) -> None:
    screens, spice, serial = [consoles.open("novnc") for _ in range(2)], consoles.open("spice"), consoles.open("serial")
    later = {"spice": consoles.open("spice"), "serial": consoles.open("serial")}
    for page in (spice, serial):
        assert "You have opened this console once more, elsewhere." in page.status("Disconnected.")
    for kind, page in [("one", screens[0]), ("two", screens[1]), *later.items()]:
        page.type(f"echo Viewer-{kind} > /dev/ttyS0", "Enter")
        consoles.logged(f"Viewer-{kind}")


@pytest.mark.parametrize("kind", ["novnc", "spice", "serial"])
def test_a_page_with_a_wrong_token_says_what_to_do(consoles: Consoles, kind: str) -> None:
    page = consoles.browser.open(re.sub("[0-9a-f]{64}", "0" * 64, consoles.address(kind)))
    assert "ask for a new one" in page.status("Refused.")
    assert page("evaluate", expression="document.querySelector('#text-open').disabled")
    page("close")


# What makes a page dangerous or useless; the last tests stop and start the server.


def test_no_page_takes_a_name_for_markup(consoles: Consoles) -> None:
    """SEC-051"""
    server = str(consoles.openstack.show("server show first")["id"])
    asyncio.run(rename(consoles.cloud, server, NAME))
    try:
        for kind in ("novnc", "spice", "serial"):
            page = consoles.open(kind, server)
            if kind == "serial":
                page.type("echo '<img src=x onerror=alert(1)>'", "Enter")
                until(page.terminal, "<img src=x onerror=alert(1)>\n")
            assert page("evaluate", expression="document.images.length") == 0
            page("close")
    finally:
        asyncio.run(rename(consoles.cloud, server, "first"))


async def rename(cloud: RunningCloud, server: str, name: str) -> None:
    async with cloud.user() as user:
        await user.ask("PUT", f"/compute/v2.1/servers/{server}", {"server": {"name": name}})


def test_a_page_says_why_its_connection_ended_and_its_token_is_dead(consoles: Consoles) -> None:
    addresses = {kind: consoles.address(kind) for kind in ("novnc", "spice", "serial")}
    pages = {kind: consoles.open(kind) for kind in addresses}
    consoles.openstack("server stop first")
    for kind, page in pages.items():
        assert "The guest ended the connection" in page.status("Disconnected."), kind
        page.status("The server is not running.")
        if kind == "novnc":
            page("screenshot", file=str(SHOTS / "ended.png"))
        page("close")
    assert consoles.openstack.reaches("first", "SHUTOFF")
    for again in ("stopped", "started"):
        for kind, address in addresses.items():
            page = consoles.browser.open(address)
            why = {"stopped": "The server is not running.", "started": "The server was started anew"}[again]
            assert why in page.status("Refused."), (kind, again)
            page("close")
        if again == "stopped":
            consoles.openstack("server start first")
            assert consoles.openstack.reaches("first", "ACTIVE")


@pytest.mark.parametrize("kind", ["novnc", "spice"])
def test_ctrl_alt_del_arrives(consoles: Consoles, kind: str) -> None:
    page = consoles.open(kind)
    before = consoles.openstack("console log show first").count("TESTGUEST ready")
    until(lambda: "up" * consoles.openstack("console log show first").count("TESTGUEST ready"), "up", 120)
    page.click("#ctrl-alt-del")
    more = max(before, 1) + 1
    until(lambda: "up" * consoles.openstack("console log show first").count("TESTGUEST ready"), "up" * more, 120)
    page("close")
