"""What a key pair looks like. In lists each is wrapped once more."""

from typing import Any

from nova_async.api.render import Field, Fields, One, Page, View, microseconds
from nova_async.api.request import Request
from nova_async.api.shapes import BOOLEAN, INTEGER, LINKS, MICROSECONDS, NULL, TEXT, Shape, array, closed, one_of
from nova_async.api.versions import V
from nova_async.keys import Made
from nova_async.model.keypairs import KeyPair


def _nothing(row: Any, request: Request) -> None:
    return None


def _created(row: KeyPair, request: Request) -> str | None:
    return microseconds(row.created_at)


def _not_deleted(row: Any, request: Request) -> bool:
    return False


LISTED = (
    Field("name", "name", type=TEXT),
    Field("type", "type", since=V.KEYPAIR_TYPES, type=one_of("ssh", "x509")),
    Field("public_key", "public_key", type=TEXT),
    Field("fingerprint", "fingerprint", type=TEXT),
)
CREATED = (*LISTED, Field("user_id", "user_id", type=TEXT))
FULL = (
    *CREATED,
    Field("id", "id", type=INTEGER),
    Field("created_at", _created, type=MICROSECONDS),
    Field("updated_at", _nothing, type=NULL),
    Field("deleted", _not_deleted, type=BOOLEAN),
    Field("deleted_at", _nothing, type=NULL),
)


class Created(View):
    """The new pair, with the private key where the service made one."""

    fields = Fields(CREATED)

    def render(self, result: tuple[KeyPair, Made | None], request: Request) -> Any:
        row, made = result
        return {"keypair": self.fields.render(row, request) | ({"private_key": made.private_key} if made else {})}

    def schema(self, version: int) -> Shape:
        made = {"private_key": TEXT} if version < V.KEYPAIRS_IMPORTED_ONLY else {}
        fields = {f.name: f.type for f in self.fields.at(version)}
        return closed({"keypair": closed(fields | made, made)})


class Listed(View):
    """``{"keypairs": [{"keypair": {...}}]}``"""

    fields = Fields(LISTED)

    def render(self, result: Page, request: Request) -> Any:
        shown: dict[str, Any] = {"keypairs": [{"keypair": item} for item in self.fields.render_all(result.rows, request)]}
        if result.next is not None:
            shown["keypairs_links"] = [{"rel": "next", "href": request.next_page(result.next)}]
        return shown

    def schema(self, version: int) -> Shape:
        links = {"keypairs_links": LINKS} if version >= V.PAGED_KEYPAIRS else {}
        return closed({"keypairs": array(closed({"keypair": self.fields.schema(version)})), **links}, links)


CREATE = Created()
SHOW = One("keypair", Fields(FULL))
LIST = Listed()
