"""The config drive: a small ISO 9660 image with Joliet and Rock Ridge names, or a FAT file system of 64 MiB; labelled ``config-2``."""

import asyncio
import io
import os
import shutil
import tempfile
from pathlib import Path

import pycdlib

from nova_async import processes
from nova_async.errors import Invalid

LABEL = "config-2"
ISO9660, VFAT = "iso9660", "vfat"
VFAT_BYTES = 64 * 2**20
TOOL_SECONDS = 60.0


def write(path: Path, files: dict[str, bytes]) -> None:
    """Write an image holding ``files`` (relative path -> content). Replaces ``path``; blocks."""
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    folders: dict[tuple[str, ...], str] = {(): ""}
    for number, name in enumerate(sorted(files)):
        parts = _parts(name)
        for depth in range(1, len(parts)):
            _folder(disc, folders, parts[:depth])
        content = files[name]
        disc.add_fp(
            io.BytesIO(content),
            len(content),
            f"{folders[parts[:-1]]}/F{number:07d}.;1",
            rr_name=parts[-1],
            joliet_path="/" + "/".join(parts),
        )
    _save(disc, path)


async def write_vfat(path: Path, files: dict[str, bytes]) -> None:
    """The same as a FAT file system. Raises ``Invalid``, ``Error`` when the files are too large for it, ``Unavailable`` without mtools."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="config-drive-", dir=path.parent))
    image, tree = folder / "image", folder / "tree"
    try:
        tops = await asyncio.to_thread(_lay_out, image, tree, files)
        await processes.run("mkfs.vfat", "-n", LABEL, str(image), deadline=TOOL_SECONDS)
        if tops:
            await processes.run("mcopy", "-s", "-i", str(image), *map(str, tops), "::", deadline=TOOL_SECONDS)
        await asyncio.to_thread(image.replace, path)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _lay_out(image: Path, tree: Path, files: dict[str, bytes]) -> list[Path]:
    """An empty image, and the files as they are to be in it; what there is at the top. Blocks."""
    with image.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(VFAT_BYTES)
    tree.mkdir()
    for name, content in files.items():
        place = tree.joinpath(*_parts(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return sorted(tree.iterdir())


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(name.strip("/").split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Invalid(f"A file of the config drive has an impossible path: {name!r}.")
    return parts


def _folder(disc: pycdlib.PyCdlib, folders: dict[tuple[str, ...], str], parts: tuple[str, ...]) -> None:
    """Plain ISO 9660 names are short and upper case; readers use the other two sets of names."""
    if parts not in folders:
        folders[parts] = f"{folders[parts[:-1]]}/D{len(folders):07d}"
        disc.add_directory(folders[parts], rr_name=parts[-1], joliet_path="/" + "/".join(parts))


def _save(disc: pycdlib.PyCdlib, path: Path) -> None:
    image = io.BytesIO()
    disc.write_fp(image)
    disc.close()
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(image.getbuffer())
    fresh.replace(path)
