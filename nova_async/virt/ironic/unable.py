"""What no machine of Ironic's can do for us."""

from typing import Any, NoReturn

from nova_async.errors import Unsupported


def _refuse(what: str) -> NoReturn:
    raise Unsupported(f"Bare metal servers cannot {what}.")


class Unable:
    """The rest of ``virt.driver.Driver``, refused by name before anything is changed."""

    async def pause(self, *_: Any, **__: Any) -> None:
        _refuse("be paused")

    async def unpause(self, *_: Any, **__: Any) -> None:
        _refuse("be paused")

    async def suspend(self, *_: Any, **__: Any) -> None:
        _refuse("be suspended")

    async def resume(self, *_: Any, **__: Any) -> None:
        _refuse("be suspended")

    def snapshot(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("be imaged: their disks are not read by anybody else")

    async def rescue(self, *_: Any, **__: Any) -> None:
        _refuse("be rescued with an image of the user's")

    async def unrescue(self, *_: Any, **__: Any) -> None:
        _refuse("be rescued with an image of the user's")

    async def receive_disk(self, *_: Any, **__: Any) -> dict[str, Any]:
        _refuse("be moved or resized")

    async def send_disk(self, *_: Any, **__: Any) -> None:
        _refuse("be moved or resized")

    async def finish_move(self, *_: Any, **__: Any) -> None:
        _refuse("be moved or resized")

    async def revert_move(self, *_: Any, **__: Any) -> None:
        _refuse("be moved or resized")

    async def confirm_move(self, *_: Any, **__: Any) -> None:
        _refuse("be moved or resized")

    async def prepare_live(self, *_: Any, **__: Any) -> dict[str, Any]:
        _refuse("be migrated while they run")

    async def live_migrate(self, *_: Any, **__: Any) -> None:
        _refuse("be migrated while they run")

    async def abort_live(self, *_: Any, **__: Any) -> bool:
        _refuse("be migrated while they run")

    async def force_live(self, *_: Any, **__: Any) -> None:
        _refuse("be migrated while they run")

    async def live_progress(self, *_: Any, **__: Any) -> None:
        return None  # there is no migration

    async def finish_live(self, *_: Any, **__: Any) -> None:
        _refuse("be migrated while they run")

    async def set_password(self, *_: Any, **__: Any) -> None:
        _refuse("be given a password from outside")

    async def attach_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def detach_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def swap_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def extend_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def snapshot_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def merge_volume(self, *_: Any, **__: Any) -> None:
        _refuse("have volumes here")

    async def measures(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("be measured from outside")

    async def addresses(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("tell from outside where their devices are")

    async def console_output(self, *_: Any, **__: Any) -> str:
        _refuse("show what they print")

    async def console(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("show a console")
