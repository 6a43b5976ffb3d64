"""The authority over HTTP: ``/certs/root.pem``, ``/certs/revoked.pem``, ``POST /certs/enrol`` and ``POST /certs/renew``.

No secret crosses it: a host proves a request by a signature, and knows our answer by the root that its join token names.
"""

import base64
import binascii
from typing import Any

from aiohttp import web

from nova_async.certs.authority import Authority, Made
from nova_async.errors import Invalid
from nova_async.services.web import edge, json_body, json_response
from nova_async.world import World

BODY_LIMIT = 64 * 1024
PEM = "application/x-pem-file"


def application(authority: Authority, world: World) -> web.Application:
    app = web.Application(middlewares=[edge(world, None, _fault)], client_max_size=BODY_LIMIT)

    async def root(request: web.Request) -> web.Response:
        return web.Response(body=authority.root_pem, content_type=PEM)

    async def revoked(request: web.Request) -> web.Response:
        return web.Response(body=await authority.revocations(), content_type=PEM)

    async def enrol(request: web.Request) -> web.Response:
        host, token, csr, proof = _texts(await json_body(request), "host", "token", "request", "proof")
        return _answer(await authority.enrol(host, token, csr.encode(), proof))

    async def renew(request: web.Request) -> web.Response:
        certificate, csr, proof = _texts(await json_body(request), "certificate", "request", "proof")
        try:
            signature = base64.b64decode(proof, validate=True)
        except binascii.Error:
            raise Invalid("proof: base64 is expected.") from None
        return _answer(await authority.renew(certificate.encode(), csr.encode(), signature))

    app.router.add_get("/root.pem", root)
    app.router.add_get("/revoked.pem", revoked)
    app.router.add_post("/enrol", enrol)
    app.router.add_post("/renew", renew)
    return app


def _texts(body: dict[str, Any], *names: str) -> list[str]:
    """The values under these names, in their order. Raises ``Invalid`` for one that is missing, no text, or not ASCII."""
    for name in names:
        value = body.get(name)
        if not isinstance(value, str) or not value.isascii() or "\0" in value:
            raise Invalid(f"{name}: a text is expected.")
    if more := body.keys() - set(names):
        raise Invalid(f"{sorted(more)[0][:80]}: not known here; {', '.join(names)} are.")
    return [body[name] for name in names]


def _answer(made: Made) -> web.Response:
    return json_response({"certificate": made.chain.decode(), "root": made.root.decode()})


def _fault(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message}}
