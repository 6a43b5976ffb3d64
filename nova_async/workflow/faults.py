"""Fault points: rehearse what a crash or a failure at one step does.

A point is ``<kind>/<step>/<moment>=<fault>``: kind and step may be ``*``; the moment is ``before`` or ``after`` (undo steps:
``undo-before``, ``undo-after``); the fault is ``kill`` (SIGKILL to this process), ``fail`` (the step raises), ``once-fail``
(so, but only the first time) or ``twice`` (the step is run again). They come from the option ``conductor.fault_points``;
none is set in normal service.
"""

import os
import signal
from collections.abc import Iterable

from nova_async.errors import Error, Invalid

MOMENTS = ("before", "after", "undo-before", "undo-after")
FAULTS = ("kill", "fail", "once-fail", "twice")


class FaultPoints:
    """What is to go wrong, and where."""

    def __init__(self, points: Iterable[str] = ()) -> None:
        self._points = dict(_parsed(p) for p in points)

    def at(self, kind: str, step: str, moment: str) -> bool:
        """Let happen what is set for this point; True when the step is to be run twice."""
        if not self._points:
            return False
        for key in ((kind, step, moment), (kind, "*", moment), ("*", step, moment), ("*", "*", moment)):
            fault = self._points.get(key)
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "once-fail":
                del self._points[key]
            if fault in ("fail", "once-fail"):
                raise Error(f"Rehearsed failure {moment} {kind}/{step}.")
            if fault == "twice":
                return True
        return False


def _parsed(point: str) -> tuple[tuple[str, str, str], str]:
    place, _, fault = point.partition("=")
    parts = tuple(place.split("/"))
    if len(parts) != 3 or parts[2] not in MOMENTS or fault not in FAULTS:
        raise Invalid(f"conductor.fault_points: {point!r} is not <kind>/<step>/<{'|'.join(MOMENTS)}>=<{'|'.join(FAULTS)}>")
    return (parts[0], parts[1], parts[2]), fault
