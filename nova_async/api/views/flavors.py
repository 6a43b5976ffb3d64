"""What a flavor looks like."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One, Plain
from nova_async.api.request import Request
from nova_async.api.schema import first, since, until
from nova_async.api.shapes import BOOLEAN, INTEGER, ITEMS, LINKS, MAYBE_TEXT, NUMBER, TEXT, array, closed
from nova_async.api.versions import V
from nova_async.model.flavors import Flavor
from nova_async.policy import flavors as policy

SWAP = first(until(V.STRICT_QUERIES - 1, {"type": ["integer", "string"], "maxLength": 0}), since(V.STRICT_QUERIES, INTEGER))


def _links(flavor: Flavor, request: Request) -> list[dict[str, str]]:
    return request.links("flavors", flavor.flavorid)


def _swap(flavor: Flavor, request: Request) -> Any:
    return flavor.swap or (0 if request.has(V.STRICT_QUERIES) else "")


def _sees_extra_specs(request: Request) -> bool:
    return request.may(policy.EXTRA_SPECS_INDEX)


BRIEF = (
    Field("id", "flavorid", type=TEXT),
    Field("name", "name", type=TEXT),
    Field("links", _links, type=LINKS),
    Field("description", "description", since=V.FLAVOR_DESCRIPTION, type=MAYBE_TEXT),
)
FULL = (
    *BRIEF,
    Field("ram", "memory_mb", type=INTEGER),
    Field("disk", "root_gb", type=INTEGER),
    Field("swap", _swap, type=SWAP),
    Field("OS-FLV-EXT-DATA:ephemeral", "ephemeral_gb", type=INTEGER),
    Field("OS-FLV-DISABLED:disabled", "disabled", until=V.STRICT_EVERYWHERE - 1, type=BOOLEAN),
    Field("vcpus", "vcpus", type=INTEGER),
    Field("os-flavor-access:is_public", "is_public", type=BOOLEAN),
    Field("rxtx_factor", "rxtx_factor", until=V.STRICT_EVERYWHERE - 1, type=NUMBER),
    Field("extra_specs", "extra_specs", since=V.FLAVOR_EXTRA_SPECS, allowed=_sees_extra_specs, type=ITEMS),
)

SHOW = One("flavor", Fields(FULL))
LIST = Many("flavors", Fields(BRIEF), links_since=V.BASE)
DETAIL = Many("flavors", Fields(FULL), links_since=V.BASE)


def _extra_specs(specs: dict[str, str], request: Request) -> Any:
    return {"extra_specs": specs}


def _extra_spec(specs: dict[str, str], request: Request) -> Any:
    return specs


def _access(result: tuple[Flavor, list[str]], request: Request) -> Any:
    flavor, projects = result
    return {"flavor_access": [{"flavor_id": flavor.flavorid, "tenant_id": project} for project in projects]}


EXTRA_SPECS = Plain(_extra_specs, closed({"extra_specs": ITEMS}))
EXTRA_SPEC = Plain(_extra_spec, ITEMS)
ACCESS = Plain(_access, closed({"flavor_access": array(closed({"flavor_id": TEXT, "tenant_id": TEXT}))}))
