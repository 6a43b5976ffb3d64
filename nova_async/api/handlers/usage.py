"""What projects used in a time (os-simple-tenant-usage)."""

from datetime import UTC, datetime, timedelta
from itertools import groupby

from nova_async.api.handlers.migrations import MARKER_MISSING
from nova_async.api.render import Page
from nova_async.api.request import Request
from nova_async.api.schema import UUID
from nova_async.api.versions import V
from nova_async.api.views.usage import ProjectUsage
from nova_async.db import Connection, usage
from nova_async.errors import Invalid
from nova_async.policy import usage as policy

FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")


async def index(request: Request) -> Page:
    return await _page(request, None)


async def show(request: Request) -> Page:
    """One project's, with its servers."""
    project = request.values["id"]
    request.require(policy.SHOW, project_id=project)
    return await _page(request, project)


async def _page(request: Request, project: str | None) -> Page:
    """The usages of projects, as far as the servers of one page make them; a page counts servers, not projects."""
    now = request.parts.world.now()
    start, stop = _period(request, now)
    paged = request.has(V.PAGED_USAGE)
    limit = request.limit() if paged else request.parts.config.api.max_limit
    async with request.parts.database.connection() as conn:
        after = await _after(request, conn) if paged else None
        found = await usage.ran_in(conn, start, stop, project_id=project, after=after, limit=limit)
    usages = [ProjectUsage(owner, list(servers), start, stop, now) for owner, servers in groupby(found, lambda s: s.project_id)]
    return Page(usages, found[-1].uuid if found and len(found) == limit else None)


def _period(request: Request, now: datetime) -> tuple[datetime, datetime]:
    """Without a start it is the moment before now; it ends now at the latest. Raises ``Invalid``."""
    start = _time(request.first("start")) or now - timedelta(microseconds=1)
    stop = _time(request.first("end")) or now
    if start >= stop:
        raise Invalid("Invalid start time. The start time cannot occur after the end time.")
    return start, min(stop, now)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    for form in FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise Invalid("Invalid datetime string: Datetime is in invalid format")


async def _after(request: Request, conn: Connection) -> tuple[str, str] | None:
    marker = request.first("marker")
    if marker is None:
        return None
    owner = await usage.owner(conn, marker) if UUID.fullmatch(marker) else None
    if owner is None:
        raise Invalid(MARKER_MISSING.format(marker[:255]))
    return owner, marker
