"""What the service says of itself to those who have no token yet, and the list of extensions of old."""

from typing import Any

from nova_async.api.extensions import ALL
from nova_async.api.request import Request
from nova_async.api.versions import LATEST
from nova_async.errors import NotFound

DOCS = {"href": "http://docs.openstack.org/", "rel": "describedby", "type": "text/html"}
TREES: dict[str, dict[str, str]] = {
    "v2": {"id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "", "updated": "2025-07-04T12:00:00Z"},
    "v2.1": {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"2.{LATEST.value}",
        "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
    },
}
MEDIA = "application/vnd.openstack.compute+json;version="
NUMBERS = {"v2": "2", "v2.1": "2.1"}


def service_versions(root: str) -> dict[str, Any]:
    """``GET /``"""
    return {"versions": [{**TREES[t], "links": [{"rel": "self", "href": f"{root}/{t}/"}]} for t in TREES]}


def one_version(root: str, tree: str) -> dict[str, Any]:
    """``GET /v2.1`` and ``GET /v2``"""
    links = [{"rel": "self", "href": f"{root}/{tree}/"}, DOCS]
    return {"version": {**TREES[tree], "links": links, "media-types": [{"base": "application/json", "type": MEDIA + NUMBERS[tree]}]}}


def choices(root: str, path: str) -> dict[str, Any]:
    """Any other path without a version."""
    return {
        "choices": [
            {
                "id": TREES[tree]["id"],
                "status": TREES[tree]["status"],
                "links": [{"rel": "self", "href": f"{root}/{tree}{path}"}],
                "media-types": [{"base": "application/json", "type": MEDIA + NUMBERS[tree]}],
            }
            for tree in TREES
        ]
    }


async def show(request: Request) -> dict[str, Any]:
    """``GET /v2.1/versions/{id}``"""
    for tree, words in TREES.items():
        if words["id"] == request.values["id"]:
            return one_version(request.root, tree)
    raise NotFound()


async def extensions(_: Request) -> dict[str, Any]:
    """Everything is part of the API now; old clients look into the list before they ask for something."""
    return {"extensions": list(ALL.values())}


async def extension(request: Request) -> dict[str, Any]:
    found = ALL.get(request.values["id"])
    if found is None:
        raise NotFound()
    return {"extension": found}
