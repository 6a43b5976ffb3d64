"""Options of users, projects, domains and roles, and ids that two choose at once."""

import asyncio

import pytest

from .client import Client


async def test_what_is_immutable_is_neither_changed_nor_deleted_until_that_is_lifted(admin: Client) -> None:
    for collection, wrapper in (("projects", "project"), ("domains", "domain"), ("roles", "role")):
        made = await admin.make(f"/{collection}", name="precious", options={"immutable": True})
        path = f"/{collection}/{made['id']}"
        for method, change in (
            ("DELETE", None),
            ("PATCH", {"name": "other"}),
            ("PATCH", {"name": "other", "options": {"immutable": False}}),
            ("PATCH", {"options": {}}),
        ):
            if collection == "domains" and method == "DELETE":
                continue  # it is enabled, which is refused first
            answer = await admin.ask(method, path, {wrapper: change} if change is not None else None)
            assert (answer.status, "immutable" in answer.body["error"]["message"]) == (403, True), (collection, change)

        lifted = await admin.ask("PATCH", path, {wrapper: {"options": {"immutable": None}}})
        assert lifted.body[wrapper]["options"] == {}
        changed = await admin.ask("PATCH", path, {wrapper: {"name": "other"} | ({"enabled": False} if collection == "domains" else {})})
        assert changed.status == 200
        assert (await admin.ask("DELETE", path)).status == 204


async def test_an_immutable_project_keeps_its_tags(admin: Client) -> None:
    made = await admin.make("/projects", name="precious", tags=["a"], options={"immutable": True})

    assert (await admin.ask("PUT", f"/projects/{made['id']}/tags/b")).status == 403
    assert (await admin.ask("DELETE", f"/projects/{made['id']}/tags")).status == 403
    assert (await admin.ask("GET", f"/projects/{made['id']}/tags")).body["tags"] == ["a"]


@pytest.mark.parametrize("name", ["admin", "manager", "member", "reader", "service"])
async def test_nobody_loses_the_roles_of_the_cloud_by_mistake(admin: Client, name: str) -> None:
    (role,) = (await admin.ask("GET", f"/roles?name={name}")).body["roles"]

    assert (await admin.ask("DELETE", f"/roles/{role['id']}")).status == 403
    assert (await admin.ask("PATCH", f"/roles/{role['id']}", {"role": {"name": "boss"}})).status == 403
    assert (await admin.ask("GET", f"/roles/{role['id']}")).body["role"]["name"] == name


async def test_options_are_changed_one_by_one_and_only_known_ones_are_taken(admin: Client) -> None:
    options = {"lock_password": True, "multi_factor_auth_rules": [["password"]]}
    user = await admin.make("/users", name="eve", options=options)
    assert user["options"] == options

    answer = await admin.ask(
        "PATCH", f"/users/{user['id']}", {"user": {"options": {"lock_password": None, "ignore_password_expiry": True}}}
    )
    assert answer.body["user"]["options"] == {"multi_factor_auth_rules": [["password"]], "ignore_password_expiry": True}
    for collection, wrapper in (("projects", "project"), ("domains", "domain"), ("roles", "role"), ("users", "user")):
        for wrong in ({"nonsense": True}, {"immutable": "yes"}, {"lock_password": 1}):
            assert (await admin.ask("POST", f"/{collection}", {wrapper: {"name": "w", "options": wrong}})).status == 400


async def test_a_locked_password_is_not_changed_by_its_user(admin: Client, demo: Client) -> None:
    user = await admin.make("/users", name="eve", password="apple", options={"lock_password": True})
    change = {"user": {"original_password": "apple", "password": "pear"}}
    await demo.login("eve", "apple", project=None)

    assert (await demo.ask("POST", f"/users/{user['id']}/password", change)).status == 400
    assert (await demo.login("eve", "apple", project=None)).status == 201
    await admin.ask("PATCH", f"/users/{user['id']}", {"user": {"options": {"lock_password": False}}})
    assert (await demo.ask("POST", f"/users/{user['id']}/password", change)).status == 204


async def test_of_many_who_choose_the_same_id_at_once_one_has_it(admin: Client) -> None:
    regions = await asyncio.gather(*(admin.ask("POST", "/regions", {"region": {"id": "here"}}) for _ in range(8)))
    body = {"domain": {"name": "d", "explicit_domain_id": "0" * 32}}
    domains = await asyncio.gather(
        *(admin.ask("POST", "/domains", body | {"domain": body["domain"] | {"name": f"d{n}"}}) for n in range(8))
    )

    for answers in (regions, domains):
        assert sorted(answer.status for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize("collection", ["groups", "services", "regions", "endpoints", "users", "projects", "roles"])
async def test_changes_that_are_made_at_once_are_all_kept(admin: Client, collection: str) -> None:
    wrapper = collection.removesuffix("s")
    (service,) = (await admin.ask("GET", "/services?type=compute")).body["services"]
    needed = {
        "regions": {},
        "services": {"type": "t"},
        "endpoints": {"service_id": service["id"], "interface": "public", "url": "http://x"},
    }
    made = await admin.make(f"/{collection}", **needed.get(collection, {"name": "n"}))
    path = f"/{collection}/{made['id']}"

    await asyncio.gather(*(admin.ask("PATCH", path, {wrapper: {f"more{n}": "x"}}) for n in range(8)))

    shown = (await admin.ask("GET", path)).body[wrapper]
    assert {f"more{n}" for n in range(8)} <= set(shown)
