"""Who may do what, worked out without asking the service: Nova's policies as they are by default, and who owns what.

``nova_policies.tsv`` lists every policy of Nova's with those whom it lets in.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from nova_async.api.route import Route
from nova_async.api.versions import V
from nova_async.context import Context
from tests.api.conftest import CALLERS, OTHER_PROJECT, PROJECT

with (Path(__file__).parent / "nova_policies.tsv").open() as file:
    WHO: dict[str, str] = {row["policy"]: row["who"] for row in csv.DictReader(file, delimiter="\t")}
OURS = {"nova_async:servers:scheduling": "admin"}  # what Nova has not
SWAP = "os_compute_api:os-volumes-attachments:swap"  # of a volume of a server for another than the path's
RANKS = ("reader", "member", "manager", "admin")  # each implies those before it

# Rows without a policy: whoever has a token may ask; another service, or the handler, looks at what is asked for.
OPEN = frozenset({"versions", "flavors", "images"})
# Nobody can do these any more, whoever they are and whatever they name.
USELESS = frozenset(
    {
        ("/os-baremetal-nodes", "POST", None),
        ("/os-baremetal-nodes/{id}", "DELETE", None),
        ("/os-baremetal-nodes/{id}/action", "POST", "add_interface"),
        ("/os-baremetal-nodes/{id}/action", "POST", "remove_interface"),
        ("/servers/{id}/action", "POST", "os-getRDPConsole"),
    }
)


class Thing(NamedTuple):
    """What an id in a path leads to. ``owner`` is a project (a user, for a key pair); None: there is no such thing."""

    kind: str  # own, foreign, unknown, malformed
    id: str
    owner: str | None
    query: str = ""


class Expected(NamedTuple):
    """What an answer must be. Without statuses: the request passes every check on who asks, whatever the handler says then."""

    statuses: frozenset[int] = frozenset()
    message: str | None = None


PASSED = Expected()
UNKNOWN = Expected(frozenset({400, 404, 501}))
REFUSED = Expected(frozenset({403, 404}))  # 404 for a part that is not there


def allowed(caller: str, policy: str, owner: str | None = None) -> bool:
    """Whether the default of ``policy`` lets the caller in, for something of this owner (None: the caller's own)."""
    ctx, who = CALLERS[caller], OURS.get(policy) or WHO[policy]
    if ctx.system_scope:
        return False  # all of Nova's policies are for tokens of a project
    if who in ("any", "nobody"):
        return who == "any"
    if _rank(ctx) == RANKS.index("admin"):
        return True
    if who == "self":
        return owner in (None, ctx.user_id)
    if who == "service":
        return "service" in ctx.roles
    return _rank(ctx) >= RANKS.index(who) and owner in (None, ctx.project_id)


def expected(route: Route, version: int, caller: str | None, thing: Thing | None) -> Expected:
    """Of one request; ``route`` is the row for this version, or one that does not serve it."""
    if caller is None:
        return Expected(frozenset({401}), "The request you have made requires authentication.")
    if not route.serves(version):
        return Expected(frozenset({route.beyond}))
    if useless(route):
        return Expected(frozenset({400}))
    collection = route.path.split("/")[1]
    if collection in ("servers", "os-volumes_boot") and thing is not None:
        return _on_a_server(route, caller, thing)
    if collection == "os-server-groups" and thing is not None:
        return UNKNOWN if thing.owner is None else _by_policy(route, caller, thing.owner)
    if collection in ("os-quota-sets", "os-simple-tenant-usage") and thing is not None:
        return _by_policy(route, caller, thing.owner)
    if collection == "os-migrations":
        return _moves(route, caller, thing if version >= V.MIGRATION_OWNER else None)
    if collection == "os-keypairs":
        told = thing is not None and (not thing.query or version >= V.KEYPAIRS_OF_OTHERS)
        return _by_policy(route, caller, thing.owner if thing is not None and told else None)
    if collection == "images":
        return _on_an_image(route, caller, thing)
    refused = _by_policy(route, caller, None)
    if refused != PASSED or thing is None:
        return refused
    return PASSED if _sees(caller, thing) else UNKNOWN


def useless(route: Route) -> bool:
    return (route.path.replace("/os-volumes_boot", "/servers"), route.method, route.action) in USELESS


def policy_of(route: Route) -> str | None:
    """The one that decides when the row is asked as the tests do it."""
    return SWAP if route.path.endswith("/os-volume_attachments/{id}") and route.method == "PUT" else route.policy


def _on_a_server(route: Route, caller: str, thing: Thing) -> Expected:
    """Servers of others are as if they were not there, whatever the caller's roles."""
    if not _sees(caller, thing):
        return Expected(frozenset({404}), f"Instance {thing.id} could not be found.")
    if policy_of(route) == SWAP:
        return _by_policy(replace(route, policy=SWAP), caller, None)
    return _by_policy(route, caller, thing.owner)


def _moves(route: Route, caller: str, thing: Thing | None) -> Expected:
    """Those of one's own project may be asked for by that project's managers, all others by those who may see all."""
    own = thing is not None and thing.owner == CALLERS[caller].project_id
    refused = _by_policy(route, caller, None)
    return refused if own or refused != PASSED else _by_policy(replace(route, policy=f"{route.policy}:all_projects"), caller, None)


def _on_an_image(route: Route, caller: str, thing: Thing | None) -> Expected:
    """The image service's own rules: its owner sees an image, a member of that project changes it. Services read all images."""
    if thing is not None and not _sees(caller, thing):
        if thing.owner is None or "service" not in CALLERS[caller].roles:
            return UNKNOWN
        return PASSED if route.method == "GET" else REFUSED
    return PASSED if route.method == "GET" or _rank(CALLERS[caller]) >= RANKS.index("member") else REFUSED


def _by_policy(route: Route, caller: str, owner: str | None) -> Expected:
    if route.policy is None or allowed(caller, route.policy, owner):
        return PASSED
    return Expected(frozenset({403}), f"Policy doesn't allow {route.policy} to be performed.")


def _sees(caller: str, thing: Thing) -> bool:
    """``PROJECT`` and ``OTHER_PROJECT`` own things; what has another owner is everybody's."""
    if thing.owner is None:
        return False
    ctx = CALLERS[caller]
    return thing.owner not in (PROJECT, OTHER_PROJECT) or thing.owner == ctx.project_id or "admin" in ctx.roles


def _rank(ctx: Context) -> int:
    return max((RANKS.index(role) for role in ctx.roles if role in RANKS), default=-1)
