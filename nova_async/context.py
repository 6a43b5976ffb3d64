"""Who asks, and under which request."""

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The identity behind a piece of work; travels with messages and workflows, holds no secret."""

    request_id: str
    user_id: str = ""
    project_id: str = ""
    user_domain_id: str = "default"
    project_domain_id: str = "default"
    roles: tuple[str, ...] = ()
    global_request_id: str | None = None
    system_scope: bool = False
    domain_id: str = ""  # of a token for a whole domain

    @property
    def other_scope(self) -> str:
        """What the caller's token is for, when that is no project: nothing of the compute API is for such tokens."""
        return "system" if self.system_scope else self.domain_id

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    @property
    def is_service(self) -> bool:
        return "service" in self.roles or self.is_admin


def service_context(request_id: str, project_id: str = "", user_id: str = "") -> Context:
    """The context of work that nova_async does on its own account."""
    return Context(request_id=request_id, user_id=user_id, project_id=project_id, roles=("admin", "service", "manager", "member", "reader"))
