"""Remote consoles: opened in each version's form, refused in Nova's words, and dead with what they were opened for."""

from urllib.parse import parse_qs, urlsplit

import pytest

from nova_async.bus.messages.compute import GetConsole
from nova_async.config import Config, load
from nova_async.console.urls import url_of

OLD = {"os-getVNCConsole": "novnc", "os-getSPICEConsole": "spice-html5", "os-getSerialConsole": "serial"}


async def opened(api, server: str, protocol: str, console_type: str, version: str = "2.99", caller: str = "member"):
    body = {"remote_console": {"protocol": protocol, "type": console_type}}
    return await api.post(f"/servers/{server}/remote-consoles", body, caller, version)


def token_of(url: str) -> str:
    query = parse_qs(urlsplit(url).query)
    return query["token"][0] if "token" in query else parse_qs(urlsplit(query["path"][0]).query)["token"][0]


async def test_a_console_is_opened_with_an_address_that_names_page_and_token(api) -> None:
    server = await api.server()
    answer = await opened(api, server, "vnc", "novnc", "2.6")
    shown = answer.body["remote_console"]
    assert (answer.status, shown["protocol"], shown["type"]) == (200, "vnc", "novnc")
    assert shown["url"].startswith("http://127.0.0.1:8774/console/vnc_lite.html?path=console%2F%3Ftoken%3D")
    assert api.bus.called[-1] == ("compute.host1", GetConsole(instance_id=server, generation=0, console_type="novnc"))


@pytest.mark.parametrize(
    ("protocol", "console_type", "beginning"),
    [
        ("vnc", "novnc", "https://console.example/vnc_lite.html?path=%3Ftoken%3D"),
        ("spice", "spice-html5", "https://console.example/spice_auto.html?token="),
        ("spice", "spice-direct", "http://127.0.0.1:13002/nova?token="),
        ("serial", "serial", "wss://console.example/?token="),
    ],
)
def test_addresses_have_novas_forms_where_consoles_have_an_origin_of_their_own(protocol, console_type, beginning) -> None:
    config = load(None, {}, console__public_url="https://console.example/")
    assert url_of(config, console_type, "t") == beginning + "t"


def test_consoles_are_found_at_their_own_port_where_they_have_one() -> None:
    assert load(None, {}, console__listen="127.0.0.1:6080").console_url == "http://127.0.0.1:6080"
    assert Config().console_url == "http://127.0.0.1:8774/console"


async def test_the_first_versions_have_an_action_for_each_protocol(api) -> None:
    server = await api.server()
    for action, console_type in OLD.items():
        answer = await api.act(server, action, {"type": console_type}, version="2.5")
        if console_type == "serial":
            assert (answer.status, answer.message) == (400, "Unavailable console type serial.")
        else:
            assert (answer.status, answer.body["console"]["type"]) == (200, console_type)
            assert len(token_of(answer.body["console"]["url"])) == 64
        assert (await api.act(server, action, {"type": console_type}, version="2.6")).status == 404
    assert (await api.act(server, "os-getRDPConsole", {"type": "rdp-html5"}, version="2.5")).status == 400
    assert (await opened(api, server, "vnc", "novnc", "2.5")).status == 404


@pytest.mark.parametrize(
    ("protocol", "console_type", "version", "words"),
    [
        ("rdp", "rdp-html5", "2.6", "Unavailable console type rdp."),
        ("mks", "webmks", "2.8", "Unavailable console type webmks."),
        ("serial", "serial", "2.6", "Unavailable console type serial."),
        ("vnc", "xvpvnc", "2.6", "Invalid console type xvpvnc"),
        ("vnc", "serial", "2.6", "Invalid console type serial"),
        ("serial", "novnc", "2.99", "Invalid console type novnc"),
    ],
)
async def test_a_console_that_there_is_not_is_refused_by_name(api, protocol, console_type, version, words) -> None:
    answer = await opened(api, await api.server(), protocol, console_type, version)
    assert (answer.status, answer.message) == (400, words)


@pytest.mark.parametrize(("console_type", "protocol", "since"), [("webmks", "mks", "2.8"), ("spice-direct", "spice", "2.99")])
async def test_newer_types_are_unknown_before_their_version(api, console_type, protocol, since) -> None:
    server = await api.server()
    before = f"2.{int(since[2:]) - 1}"
    answer = await opened(api, server, protocol, console_type, before)
    assert (answer.status, answer.message.startswith("Invalid input for field/attribute")) == (400, True)


async def test_a_server_without_a_host_or_with_a_silent_one_has_no_console_yet(api) -> None:
    waiting = await api.server(state=None)
    answer = await opened(api, waiting, "vnc", "novnc")
    assert (answer.status, answer.message) == (409, f"Instance {waiting} is not ready")
    server = await api.server()
    await api.settle(server, host="host2")
    answer = await opened(api, server, "vnc", "novnc")
    assert (answer.status, answer.message) == (409, f"The host of instance {server} does not answer; try again later.")


async def test_a_server_that_is_being_deleted_opens_no_console(api) -> None:
    server = await api.server()
    await api.ask("DELETE", f"/servers/{server}")
    answer = await opened(api, server, "vnc", "novnc")
    assert (answer.status, answer.message) == (409, f"Cannot 'get_vnc_console' instance {server} while it is in task_state deleting")


async def test_administrators_learn_where_the_console_of_a_token_is(api) -> None:
    server = await api.server()
    direct = token_of((await opened(api, server, "spice", "spice-direct")).body["remote_console"]["url"])
    screen = token_of((await opened(api, server, "vnc", "novnc")).body["remote_console"]["url"])
    shown = {"instance_uuid": server, "host": "192.0.2.1", "port": 5900, "internal_access_path": None}
    assert (await api.get(f"/os-console-auth-tokens/{direct}", "admin", "2.99")).body == {"console": shown | {"tls_port": 5901}}
    assert (await api.get(f"/os-console-auth-tokens/{direct}", "admin", "2.98")).body == {"console": shown}
    assert (await api.get(f"/os-console-auth-tokens/{screen}", "admin", "2.99")).body == {"console": shown}
    assert (await api.get(f"/os-console-auth-tokens/{screen}", "admin", "2.31")).body == {"console": shown}
    assert (await api.get(f"/os-console-auth-tokens/{screen}", "admin", "2.30")).status == 400
    assert (await api.get(f"/os-console-auth-tokens/{screen}", "member", "2.31")).status == 403
    assert (await api.get(f"/os-console-auth-tokens/{screen}?x=1", "admin", "2.98")).status == 200
    assert (await api.get(f"/os-console-auth-tokens/{screen}?x=1", "admin", "2.99")).status == 400


async def test_an_unknown_token_is_not_found(api) -> None:
    for token in ("x", "0" * 64, "\u00e9" * 64, "0" * 4000):
        answer = await api.get(f"/os-console-auth-tokens/{token}", "admin", "2.31")
        assert (answer.status, answer.message) == (404, "Token not found")


@pytest.mark.parametrize(
    "change",
    [{"deleted": True}, {"host": "host2"}, {"generation": 1}, {"power_state": 4}],
    ids=["deleted", "moved", "placed anew", "stopped"],
)
async def test_a_token_dies_with_what_happens_to_its_server(api, change) -> None:
    """SEC-043"""
    server = await api.server()
    token = token_of((await opened(api, server, "vnc", "novnc")).body["remote_console"]["url"])
    await api.starter.finish(server, **change)
    assert (await api.get(f"/os-console-auth-tokens/{token}", "admin", "2.99")).status == 404


async def test_a_token_dies_when_its_guest_is_started_anew_or_its_host_is_silent(api) -> None:
    """SEC-043"""
    server = await api.server()
    token = token_of((await opened(api, server, "vnc", "novnc")).body["remote_console"]["url"])
    api.bus.console_port = 5999
    assert (await api.get(f"/os-console-auth-tokens/{token}", "admin", "2.99")).status == 404


async def test_a_token_dies_when_its_time_is_over_and_only_its_hash_was_kept(api) -> None:
    server = await api.server()
    token = token_of((await opened(api, server, "vnc", "novnc")).body["remote_console"]["url"])
    async with api.database.connection() as conn:
        (row,) = await conn.fetch("SELECT * FROM console_tokens")
        assert token not in str(dict(row)) + row["hash"].hex()
        await conn.execute("UPDATE console_tokens SET expires_at = now()")
    assert (await api.get(f"/os-console-auth-tokens/{token}", "admin", "2.99")).status == 404
    async with api.database.connection() as conn:
        await conn.execute("UPDATE console_tokens SET expires_at = now() - interval '25 hours'")
    await opened(api, server, "vnc", "novnc")
    async with api.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM console_tokens") == 1


async def test_a_server_has_a_bounded_number_of_tokens(api, monkeypatch) -> None:
    monkeypatch.setattr("nova_async.console.tokens.TOKENS_OF_A_SERVER", 3)
    server, other = await api.server(), await api.server()
    kept = token_of((await opened(api, other, "vnc", "novnc")).body["remote_console"]["url"])
    tokens = [token_of((await opened(api, server, "vnc", "novnc")).body["remote_console"]["url"]) for _ in range(5)]
    found = [(await api.get(f"/os-console-auth-tokens/{token}", "admin", "2.99")).status for token in [*tokens, kept]]
    assert found == [404, 404, 200, 200, 200, 200]
