"""What a running cloud lets through and what it says of the rest: limits under a rush, many servers at once, why a server is nowhere."""

import asyncio
from collections.abc import Iterator

import pytest

from .running import ADMIN, RunningCloud, User, running_cloud

pytestmark = pytest.mark.slow
SERVERS = "/compute/v2.1/servers"


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with running_cloud(hosts=3) as made:
        yield made
        made.is_consistent()
        made.has_a_clean_log()


async def image(user: User) -> str:
    return str((await user.get("/image/v2/images"))["images"][0]["id"])


async def gone(user: User, servers: list[str]) -> None:
    for server in servers:
        await user.try_to("DELETE", f"{SERVERS}/{server}")
    await asyncio.gather(*(user.until(server, "GONE") for server in servers))


async def test_of_fifty_at_once_ten_pass_a_limit_of_ten(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        body = {"server": {"name": "rush", "imageRef": await image(user), "flavorRef": "1", "networks": "none"}}
        answers = await asyncio.gather(*(user.try_to("POST", SERVERS, body) for _ in range(50)))
        assert sorted(answer.status for answer in answers) == [202] * 10 + [403] * 40
        detail = await user.get(f"/compute/v2.1/os-quota-sets/{user.project}/detail")
        assert detail["quota_set"]["instances"] == {"limit": 10, "in_use": 10, "reserved": 0}
        made = [answer.body["server"]["id"] for answer in answers if answer.status == 202]
        await asyncio.gather(*(user.until(server, "ACTIVE") for server in made))
        await gone(user, made)
        assert (await user.get("/compute/v2.1/limits"))["limits"]["absolute"]["totalInstancesUsed"] == 0


async def test_many_at_once_share_a_reservation_and_as_many_are_made_as_fit_under_the_limit(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        asked = {"name": "many", "imageRef": await image(user), "flavorRef": "1", "networks": "none", "return_reservation_id": True}
        answer = await user.ask("POST", SERVERS, {"server": asked | {"min_count": 2, "max_count": 40}})
        assert set(answer) == {"reservation_id"}
        listed = (await user.get(f"{SERVERS}?reservation_id={answer['reservation_id']}"))["servers"]
        assert {server["name"] for server in listed} == {f"many-{number}" for number in range(1, 11)}
        refused = await user.try_to("POST", SERVERS, {"server": asked | {"min_count": 2, "max_count": 40}})
        assert refused.status == 403
        words = "Quota exceeded for cores, instances: Requested 40, 2-40, but already used 10, 10 of 20, 10 cores, instances"
        assert refused.body["forbidden"]["message"] == words
        await asyncio.gather(*(user.until(server["id"], "ACTIVE") for server in listed))
        await gone(user, [server["id"] for server in listed])


async def test_a_server_that_found_no_host_says_why_of_each(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin:
        flavor = {"id": "huge", "name": "huge", "ram": 10_000_000, "vcpus": 1, "disk": 1}
        await admin.ask("POST", "/compute/v2.1/flavors", {"flavor": flavor})
        await admin.ask("PUT", f"/compute/v2.1/os-quota-sets/{admin.project}", {"quota_set": {"ram": -1}})
        services = (await admin.get("/compute/v2.1/os-services?binary=nova-compute"))["services"]
        body = {"status": "disabled", "disabled_reason": "repair"}
        await admin.ask("PUT", f"/compute/v2.1/os-services/{services[0]['id']}", body)
        server = await admin.boot("nowhere", flavorRef="huge")
        found = (await admin.settled([server]))[server]
        assert found is not None
        assert found["status"] == "ERROR"
        assert found["fault"]["message"].startswith("No valid host was found.")

        (decision,) = (await admin.get(f"{SERVERS}/{server}/scheduling"))["scheduling"]
        assert (decision["host"], decision["hosts"], decision["candidates"]) == (None, 3, [])
        assert {refusal["host"] for refusal in decision["refusals"]} == {service["host"] for service in services}
        for refusal in decision["refusals"]:
            told = [{"filter": refusal["filter"], "reason": refusal["reason"]}, *refusal["others"]]
            disabled = refusal["host"] == services[0]["host"]
            assert ["ComputeFilter", "Capacity"][0 if disabled else 1 :] == [one["filter"] for one in told]
            assert "MEMORY_MB: needs 10000000, the host has" in told[-1]["reason"]

        status, output = cloud.told("explain", "nowhere")
        assert status == 0, output
        assert "nowhere" in output.splitlines()[0]
        assert "no host was taken, of 3 hosts" in output
        assert "ComputeFilter: disabled by an operator (repair)" in output
        assert output.count("Capacity: MEMORY_MB: needs 10000000, the host has") == 3
        assert cloud.told("explain", "no-such-server") == (1, "nova-async: 0 servers are named 'no-such-server'.")
        await admin.ask("PUT", f"/compute/v2.1/os-services/{services[0]['id']}", {"status": "enabled"})
        await gone(admin, [server])


async def test_only_operators_are_told_of_hosts(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        server = await user.boot("mine")
        await user.until(server, "ACTIVE")
        refused = await user.try_to("GET", f"{SERVERS}/{server}/scheduling")
        assert refused.status == 403
        async with cloud.user(ADMIN) as admin:
            (decision,) = (await admin.get(f"{SERVERS}/{server}/scheduling"))["scheduling"]
            assert decision["host"] in [candidate["host"] for candidate in decision["candidates"]]
            assert (decision["action"], decision["refusals"], decision["error"]) == ("create", [], None)
        await gone(user, [server])
