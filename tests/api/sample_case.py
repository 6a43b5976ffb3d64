"""The request that a sample belongs to."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from tests.api.conftest import Api

Names = dict[str, str]
Scene = Callable[[Api, Names], Coroutine[Any, Any, None]]


class Case(NamedTuple):
    """``path`` may change with the version; ``{words}`` in it come from the scenes. ``caller`` None: whoever sees what the sample shows."""

    method: str
    path: str | dict[int, str]
    scenes: tuple[Scene, ...] = ()
    caller: str | None = "admin"
    body: str = ""  # the sample that is sent, where it is not the one of the same name
