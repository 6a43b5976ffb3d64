"""A policy's name and default, and the defaults that most policies use."""

from typing import Final, NamedTuple

ANY: Final = "@"
NOBODY: Final = "!"
ADMIN: Final = "rule:context_is_admin"
MANAGER: Final = "rule:project_manager_or_admin"
MEMBER: Final = "rule:project_member_or_admin"
READER: Final = "rule:project_reader_or_admin"
SERVICE: Final = "rule:service_or_admin"
SELF: Final = "(rule:context_is_admin) or user_id:%(user_id)s"


class Rule(NamedTuple):
    name: str
    default: str
    sentence: str = ""
