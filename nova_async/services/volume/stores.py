"""Where the bytes of volumes and snapshots are: what every back end can do, and what it tells of itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from nova_async.qemu_img import Luks

GIB = 2**30
Copier = Callable[[Path], Awaitable[bool]]  # writes to a file that is there; False: it cannot


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """``name``: of the back end and of its only pool; ``protocol``: how hosts reach it, in Cinder's words."""

    name: str
    protocol: str


class Origin(NamedTuple):
    """What a volume is copied from: another volume, or a snapshot of it."""

    volume: str
    snapshot: str | None = None


class Store(Protocol):
    """Volumes and snapshots by their ids. All that changes something is safe to repeat.

    All raise ``Unavailable`` for what may be better later, and ``NoCapacity`` where there is no room.
    """

    @property
    def traits(self) -> Traits: ...

    def close(self) -> None: ...

    async def make(self, volume: str, gib: int, luks: Luks | None = None) -> None:
        """An empty one: of zeros, or (``luks``) encrypted, of nothing in particular."""
        ...

    async def from_image(self, volume: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        """An image's bytes, and zeros after them, also over a volume that is there.

        Raises ``Invalid`` for an image that is larger, or names another file.
        """
        ...

    async def clone(self, of: Origin, volume: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        """A copy, as large or larger, that does not lean on what it is of.

        ``copier`` copies a volume that a guest writes to, for a back end that cannot do it by itself.
        """
        ...

    async def snapshot(self, volume: str, snapshot: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        """``copier``: as for ``clone``."""
        ...

    async def grow(self, volume: str, gib: int, *, encrypted: bool = False) -> None:
        """A guest may have it open."""
        ...

    async def as_image(self, volume: str, disk_format: str, copier: Copier | None = None) -> Path:
        """A copy in the format of an image, to be read and then given to ``discard``. ``copier``: as for ``clone``."""
        ...

    def read(self, path: Path) -> AsyncIterator[bytes]:
        """In chunks of at most 1 MiB."""
        ...

    async def discard(self, path: Path) -> None: ...

    async def remove(self, volume: str) -> None:
        """The volume, what was begun of it, and what was left of copies of it."""
        ...

    async def remove_snapshot(self, volume: str, snapshot: str) -> None:
        """Copies that were made of it stay."""
        ...

    async def space(self) -> tuple[float, float]:
        """GiB in all, and free."""
        ...

    async def names(self) -> set[str]:
        """Of all that ``remove`` removes."""
        ...

    def path(self, volume: str) -> Path:
        """The file or device of this machine that it is. Raises ``Unsupported`` where it is neither."""
        ...

    async def flat(self, volume: str) -> bool:
        """Whether what is in that file or device is what a guest reads; else QEMU alone can hand it out, on one machine at a time."""
        ...

    async def way(self, volume: str, *, here: bool) -> dict[str, Any] | None:
        """How a guest opens it by itself, in Cinder's form; None: somebody has to hand it out. ``here``: a guest of this machine."""
        ...

    async def node(self, volume: str, gib: int, *, encrypted: bool, shared: bool) -> str:
        """Options of QEMU's ``raw`` driver by which a daemon among the exports of this machine opens it, now that it can.

        ``shared``: somebody else has it open, too.
        """
        ...
