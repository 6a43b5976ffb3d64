"""Files that ship with the package: ``sql/`` and ``config/``, in the wheel or beside the checkout."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def _folder(name: str) -> Traversable:
    inside = files("nova_async") / f"_{name}"
    return inside if inside.is_dir() else Path(__file__).parent.parent / name


def sql(path: str = "") -> Traversable:
    return _folder("sql") / path if path else _folder("sql")


def config(path: str) -> Traversable:
    return _folder("config") / path
