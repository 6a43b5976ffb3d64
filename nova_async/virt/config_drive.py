"""The config drive: a small ISO 9660 image with Joliet and Rock Ridge names, labelled ``config-2``."""

import io
import os
from pathlib import Path

import pycdlib

from nova_async.errors import Invalid

LABEL = "config-2"


def write(path: Path, files: dict[str, bytes]) -> None:
    """Write an image holding ``files`` (relative path -> content). Replaces ``path``; blocks."""
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    folders: dict[tuple[str, ...], str] = {(): ""}
    for number, name in enumerate(sorted(files)):
        parts = tuple(name.strip("/").split("/"))
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise Invalid(f"A file of the config drive has an impossible path: {name!r}.")
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
