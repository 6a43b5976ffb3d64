"""Nova's API samples, where they lie beside the repository; comparisons skip without them."""

import json
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[3] / "shared" / "api" / "samples"


def samples(name: str, folder: str) -> list[Any]:
    """Parameters (version, sample) of every version of one sample; one that skips when there are none."""
    found = [
        pytest.param(_version(path, folder), json.loads(path.read_text()), id=_version(path, folder))
        for path in sorted(SAMPLES.glob(f"{folder}/**/{name}.json"))
    ]
    return found or [pytest.param("2.1", {}, marks=pytest.mark.skip(reason="the API's samples are not here"))]


def shape(value: Any) -> Any:
    """The keys of a document; lists by their first item."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return ...


def _version(path: Path, folder: str) -> str:
    return "2.1" if path.parent.name == folder else path.parent.name.removeprefix("v")
