"""Filters and weighers of an operator's own: loaded by name, and kept from doing harm when they fail."""

from importlib import import_module
from typing import Any

import numpy as np

from nova_async import log
from nova_async.config import SchedulerSection
from nova_async.errors import Invalid
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import Floats, HostState, HostTable, Mask
from nova_async.scheduler.request import Request

logger = log.get("scheduler")


def loaded(option: str, path: str) -> Any:
    """What is named at ``package.module:Name`` or ``package.module.Name``. Raises ``Invalid`` naming the option."""
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise Invalid(f"{option}: {path!r} is no known name; one of your own is named package.module.Name")
    try:
        return getattr(import_module(module), name)
    except AttributeError:
        raise Invalid(f"{option}: the module {module!r} has no {name!r}") from None
    except Exception as error:  # of somebody else's module, whatever it is
        raise Invalid(f"{option}: {path!r} cannot be imported ({type(error).__name__}: {error})") from None


def made(option: str, path: str, *arguments: Any, kind: type | None = None) -> Any:
    """An instance of a class of the operator's own. Raises ``Invalid`` naming the option."""
    found = loaded(option, path)
    if not isinstance(found, type) or (kind is not None and not issubclass(found, kind)):
        wanted = f"a class that inherits {kind.__module__}.{kind.__name__}" if kind else "a class"
        raise Invalid(f"{option}: {path!r} is not {wanted}")
    try:
        return found(*arguments)
    except Exception as error:
        raise Invalid(f"{option}: {path!r} cannot be made ({type(error).__name__}: {error})") from None


class ForeignFilter(Filter):
    """Asks the operator's filter. One that raises refuses: a host that was not looked at must not be taken."""

    def __init__(self, options: SchedulerSection, path: str) -> None:
        super().__init__(options)
        self.filter: Filter = made("scheduler.filters", path, options, kind=Filter)
        self.name = type(self.filter).__name__

    def applies(self, request: Request) -> bool:
        try:
            return bool(self.filter.applies(request))
        except Exception as error:
            self._tell(error, request)
            return True

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        try:
            mask = self.filter.mask(table, request)
            if mask is None:
                return None
            verdicts = np.asarray(mask, bool)
        except Exception as error:
            self._tell(error, request)
            return np.zeros(len(table), bool)
        return verdicts if verdicts.shape == (len(table),) else np.zeros(len(table), bool)

    def reason(self, host: HostState, request: Request) -> str | None:
        try:
            reason = self.filter.reason(host, request)
        except Exception as error:
            self._tell(error, request)
            return f"the filter failed ({type(error).__name__})"  # servers' faults say so to their users: the words are for the log
        return None if reason is None else str(reason)

    def _tell(self, error: Exception, request: Request) -> None:
        logger.error("scheduler.filter_failed", filter=self.name, server=request.instance_id, error=f"{type(error).__name__}: {error}")


class ForeignWeigher:
    """Asks the operator's weigher. One that raises, or does not answer with a number for each host, counts as if all were alike."""

    def __init__(self, path: str) -> None:
        self.weigher, self.path = made("scheduler.weighers", path), path
        if not callable(self.weigher):
            raise Invalid(f"scheduler.weighers: instances of {path!r} cannot be called")

    def __call__(self, table: HostTable, request: Request) -> Floats | None:
        try:
            weights = self.weigher(table, request)
            numbers = None if weights is None else np.asarray(weights, np.float64)
            if numbers is None or (numbers.shape == (len(table),) and bool(np.isfinite(numbers).all())):
                return numbers
            problem = f"it gave {numbers.shape} numbers for {len(table)} hosts, or some that are not finite"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        logger.error("scheduler.weigher_failed", weigher=self.path, server=request.instance_id, error=problem)
        return None
