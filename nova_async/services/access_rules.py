"""Where access rules are enforced: whoever knows tokens asks here before it tells who is behind one that is bound by rules."""

from collections.abc import Iterable

from nova_async.errors import Forbidden, Unauthorized
from nova_async.model.access_rules import AccessRule, Visit, allows
from nova_async.services.web import Tokens


async def check(rules: Iterable[AccessRule], visit: Visit | None, tokens: Tokens) -> None:
    """Nothing happens where a rule allows the request, or a service makes it. Raises ``Forbidden``, ``Unavailable``.

    Rules say what may be asked for from outside: what one service asks of another to do that is not their concern.
    """
    if visit is None:
        raise Forbidden("The access rules of the application credential do not allow this.")
    if not allows(rules, visit) and not await _is_from_a_service(visit, tokens):
        raise Forbidden(f"No access rule of the application credential allows {visit.method} {visit.path}.")


async def _is_from_a_service(visit: Visit, tokens: Tokens) -> bool:
    if not visit.service_token:
        return False
    try:
        return (await tokens.validate(visit.service_token)).is_service
    except (Unauthorized, Forbidden):
        return False
