"""What is installed from a wheel has the files it needs beside the code."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent

# Run with the wheel alone in front of the path, away from the checkout.
LOOK = """
import nova_async, sys
from nova_async import resources
from nova_async.db.migrations import migrations
assert nova_async.__file__.startswith(sys.argv[1]), nova_async.__file__
print(len(migrations("api")), len(migrations("cell")), resources.config("policy.yaml").is_file(), resources.sql("queries").is_dir())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # hatchling directly: no network, no build environment of its own
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_statement_migration_and_configuration_file(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("sql", "config"):
        beside = {f"nova_async/_{folder}/{p.relative_to(ROOT / folder)}" for p in (ROOT / folder).rglob("*") if p.is_file()}
        assert beside
        assert beside - inside == set()


def test_the_wheel_holds_the_pages_of_consoles(wheel: Path) -> None:
    pages = {str(p.relative_to(ROOT)) for p in (ROOT / "nova_async" / "console" / "static").rglob("*") if p.is_file()}
    assert pages
    assert pages - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_wheel_holds_all_code_and_no_tests(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "nova_async").rglob("*.py")}
    assert code - inside == set()
    assert not [name for name in inside if "test_" in Path(name).name]


def test_the_code_in_a_wheel_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {LOOK.strip().replace(chr(10), '; ')}", tmp_path]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    count = {schema: len(list((ROOT / "sql" / schema).glob("*.sql"))) for schema in ("api", "cell")}
    assert told.stdout.split() == [str(count["api"]), str(count["cell"]), "True", "True"]


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [r for group in (project["dependencies"], *project["optional-dependencies"].values()) for r in group]


@pytest.mark.parametrize("requirement", requirements())
def test_a_dependency_is_pinned_within_its_range_and_has_a_reason(requirement: str) -> None:
    wanted = Requirement(requirement)
    pins = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    (version,) = [next(iter(p.specifier)).version for p in pins if canonicalize_name(p.name) == canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)
    assert wanted.name in (ROOT / "docs" / "dependencies.md").read_text()
