"""Sockets, cores and threads that a guest sees: as flavor and image prefer them, within their bounds (Nova's rules)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

PARTS = ("sockets", "cores", "threads")
UNBOUNDED = 65_536  # of a part; also the most CPUs that a guest has in all


class CpuTopology(NamedTuple):
    sockets: int
    cores: int
    threads: int


def chosen(vcpus: int, specs: Mapping[str, Any], image: Mapping[str, Any], threads: int = 1) -> CpuTopology:
    """The shape that has most of what is preferred; of equal ones that with the most cores, then sockets.

    ``threads`` of a core are preferred when nobody says anything. Raises ``ValueError`` in Nova's words for bounds that cannot be kept.
    """
    bounds = _bounds(specs, image)
    wanted = _preferred(specs, image, bounds)
    if not any(wanted):
        wanted = CpuTopology(0, 0, threads if threads > 1 else 0)
    shapes = [shape for shape in _shapes(vcpus) if all(part <= bound for part, bound in zip(shape, bounds, strict=True))]
    if not shapes:
        limits = ":".join(str(min(vcpus, bound)) for bound in bounds)
        raise ValueError(f"Requested vCPU limits {limits} are impossible to satisfy for vcpus count {vcpus}")
    return max(shapes, key=lambda shape: (_score(shape, wanted), shape.sockets * shape.cores, shape.sockets))


def _bounds(specs: Mapping[str, Any], image: Mapping[str, Any]) -> CpuTopology:
    flavors, images = _numbers(specs, "hw:cpu_max_"), _numbers(image, "hw_cpu_max_")
    if any(flavor and own > flavor for flavor, own in zip(flavors, images, strict=True)):
        raise ValueError(f"Image vCPU topology limits ({_told(images)}) exceeds the limits of the flavor ({_told(flavors)})")
    return CpuTopology(*(own or flavor or UNBOUNDED for flavor, own in zip(flavors, images, strict=True)))


def _preferred(specs: Mapping[str, Any], image: Mapping[str, Any], bounds: CpuTopology) -> CpuTopology:
    """The image's wish, else the flavor's; one of the flavor that is out of bounds counts for nothing."""
    flavors, images = _numbers(specs, "hw:cpu_"), _numbers(image, "hw_cpu_")
    if any(own > bound for own, bound in zip(images, bounds, strict=True)):
        raise ValueError(f"Image vCPU topology ({_told(images)}) exceeds the limits of the flavor or image ({_told(bounds)})")
    if any(images):
        return images
    return CpuTopology(0, 0, 0) if any(part > bound for part, bound in zip(flavors, bounds, strict=True)) else flavors


def _shapes(vcpus: int) -> list[CpuTopology]:
    """None for more CPUs than any host has: flavors may say 2^31, and to try so many divisors would hold everybody up for a minute."""
    if vcpus > UNBOUNDED:
        return []
    divisors = [number for number in range(1, vcpus + 1) if vcpus % number == 0]
    return [CpuTopology(s, c, vcpus // (s * c)) for s in divisors for c in divisors if vcpus % (s * c) == 0]


def _score(shape: CpuTopology, wanted: CpuTopology) -> int:
    return sum(part == wish for part, wish in zip(shape, wanted, strict=True) if wish)


def _numbers(source: Mapping[str, Any], prefix: str) -> CpuTopology:
    texts = (str(source.get(prefix + part) or "0") for part in PARTS)
    return CpuTopology(*(int(text) if text.isdecimal() and len(text) < 6 else 0 for text in texts))


def _told(shape: CpuTopology) -> str:
    return ", ".join(f"{name}={part}" for name, part in zip(PARTS, shape, strict=True))
