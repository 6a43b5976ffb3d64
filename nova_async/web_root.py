"""The one port: every service under its own path, and what operators ask."""

from aiohttp import http_parser, web

from nova_async.bus import Bus
from nova_async.config import Config
from nova_async.db import Database
from nova_async.db import query as queries
from nova_async.errors import Invalid, Unavailable
from nova_async.services.web import json_response


def check_parser() -> None:
    """Raises ``Invalid`` where requests would be read by aiohttp's parser in Python: it forgives what a proxy in front reads otherwise."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise Invalid("aiohttp's compiled HTTP parser is not in use: install aiohttp from a wheel, and leave AIOHTTP_NO_EXTENSIONS unset.")


def site(services: dict[str, web.Application], database: Database, bus: Bus, config: Config) -> web.Application:
    """``/`` lists the services; ``/healthz`` says whether requests can be served; ``/metrics`` counts."""

    async def index(request: web.Request) -> web.Response:
        return json_response({"services": {path.strip("/"): config.public_url + path for path in services}})

    async def health(request: web.Request) -> web.Response:
        try:
            async with database.connection() as conn:
                await conn.execute("SELECT 1", timeout=2)
        except Unavailable as error:
            return json_response({"status": "unavailable", "reason": error.message}, 503, {"Retry-After": "5"})
        return json_response({"status": "ok"})

    async def metrics(request: web.Request) -> web.Response:
        counters = {"nova_async_sql_statements": queries.statements_run, "nova_async_bus_messages": bus.messages_sent}
        return web.Response(text="".join(f"# TYPE {name} counter\n{name} {value}\n" for name, value in counters.items()))

    root = web.Application()
    root.router.add_get("/", index)
    root.router.add_get("/healthz", health)
    root.router.add_get("/metrics", metrics)
    for path, service in services.items():
        root.add_subapp(path, service)
    return root
