"""Requests at random, made by Schemathesis of our own OpenAPI document, and what is held of the answers.

An answer must have a documented status (so it is no 5xx but a documented 501), the documented type, headers and schema, by
Schemathesis' checks and by the table's row of that very action.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from nova_async.api.openapi import EMPTY, document
from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from nova_async.api.schema import at
from nova_async.api.versions import LATEST, OLDER, V
from tests.api.contract import breach
from tests.fuzz import formats
from tests.fuzz.aim import Aim
from tests.fuzz.ground import SECONDS, Ground

# Where much differs: the first version, the last one with the old proxies, and some between.
VERSIONS = (LATEST, V.BASE, V.NO_PROXIES - 1, V.SERVICE_UUIDS - 1, V.FLAVOR_EXTRA_SPECS, V.STRICT_QUERIES, V.KEYPAIRS_IMPORTED_ONLY - 1)
SHARES = (0.4, 0.2, 0.12, 0.1, 0.06, 0.06, 0.06)  # of the cases
CHECKED = ("status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance")
NEGATIVE, MEMBERS = 0.25, 0.2  # parts of all cases: those that break the schema on purpose, and those of the member
REFRESH = 150  # cases
ROUND = 3000  # cases
OPERATION_WEIGHT, ACTION_WEIGHT = 10, 6  # cases of an operation, to cases of each action
LONGEST_LINE = 8000  # octets of a URL; longer ones the HTTP server refuses by itself


@dataclass
class Report:
    """What was sent, and what came."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    routes: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def note(self, route: str, status: int, took: float) -> None:
        self.cases += 1
        self.statuses[status] += 1
        self.routes.setdefault(route, Counter())[status] += 1
        self.slowest = max(self.slowest, (took, route))

    @property
    def never_good(self) -> list[str]:
        """Routes that answered nothing but refusals."""
        return sorted(route for route, told in self.routes.items() if min(told) >= 300)

    def __str__(self) -> str:
        """A line for each route, and what is left of it in sums."""
        lines = [f"{route:72} {_counts(told)}" for route, told in sorted(self.routes.items())]
        lines.append(f"only refused: {len(self.never_good)} of {len(self.routes)} routes: {', '.join(self.never_good)}")
        lines += [f"FAILURE {text}" for text in self.failures]
        lines.append(
            f"{self.cases} cases, {len(self.routes)} routes, {_counts(self.statuses)}; slowest {self.slowest[0]:.2f} s, {self.slowest[1]}"
        )
        return "\n".join([*lines, f"{len(self.failures)} failures"])


class Plan(NamedTuple):
    """So many cases of an operation in each round."""

    operation: Any
    version: int
    mode: GenerationMode
    strategy: Any
    count: int


@dataclass
class Fuzz:
    ground: Ground
    base_url: str
    cases: int
    start: int = 0  # the seed
    report: Report = field(default_factory=Report)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        formats.register()
        self.chance = random.Random(self.start)
        self.aim = Aim(self.ground, self.chance)
        self.since_refresh = REFRESH

    def run(self) -> Report:
        """Round after round over all operations of all versions, until there were enough cases."""
        plans = [plan for version, share in zip(VERSIONS, SHARES, strict=True) for plan in self._plans(version, share)]
        while self.report.cases < self.cases:
            for plan in plans:
                self._fuzz(plan)
            self.start += 1
        return self.report

    def _plans(self, version: int, share: float) -> Iterator[Plan]:
        operations = [(operation, rows_of(operation, version)) for operation in self._operations(version)]
        weights = [max(OPERATION_WEIGHT, ACTION_WEIGHT * len(rows)) for _, rows in operations]
        for (operation, _), weight in zip(operations, weights, strict=True):
            count = min(self.cases, ROUND) * share * weight / sum(weights)
            breakable = operation.body or operation.query  # any text may be an id
            parts = [(GenerationMode.POSITIVE, 1 - NEGATIVE), (GenerationMode.NEGATIVE, NEGATIVE)]
            for mode, part in parts if breakable else [(GenerationMode.POSITIVE, 1.0)]:
                yield Plan(operation, version, mode, operation.as_strategy(generation_mode=mode), max(1, round(count * part)))

    def _operations(self, version: int) -> Iterator[Any]:
        whole = document(ROUTES, self.base_url, version)
        del whole["security"]  # tokens and versions are ours to give
        for path in whole["paths"].values():
            for operation in path.values():
                operation["parameters"] = [parameter for parameter in operation["parameters"] if "$ref" not in parameter]
        schema = schemathesis.openapi.from_dict(whole)
        for result in schema.get_all_operations():
            yield result.ok()

    def _fuzz(self, plan: Plan) -> None:
        @seed(self.start + plan.version)
        @settings(max_examples=plan.count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=plan.strategy)
        def each(case: Case) -> None:
            self._send(case, plan.version, plan.mode)

        with suppress(Unsatisfiable):  # where there is nothing that could be wrong
            each()
        if plan.operation.label == "DELETE /servers/{id}":
            self.since_refresh = REFRESH

    def _send(self, case: Case, version: int, mode: GenerationMode) -> None:
        if self.since_refresh >= REFRESH:
            self.ground.refresh()
            self.since_refresh = 0
        self.since_refresh += 1
        person = self.ground.member if self.chance.random() < MEMBERS else self.ground.admin
        action = next(iter(case.body), None) if isinstance(case.body, dict) and case.operation.path.endswith("/action") else None
        self._aimed(case, version, mode, action)
        ours = {"OpenStack-API-Version": f"compute 2.{int(version)}", "X-Auth-Token": person.token}
        names = {name.lower() for name in (*ours, OLDER)}
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() not in names}
        begun = time.monotonic()
        try:
            response = case.call(base_url=f"{self.base_url}/v2.1", session=person.session, headers=ours, timeout=SECONDS)
        except (requests.RequestException, ValueError) as error:
            self.report.failures.append(f"{case.operation.label} at 2.{int(version)}: no answer: {error!r}"[:1000])
            return
        known = action if any(row.action == action for row in ROUTES) else None
        self.report.note(f"{case.operation.label} {known or ''}".strip(), response.status_code, time.monotonic() - begun)
        if action is not None and response.status_code < 300:
            self.ground.changed(case.path_parameters.get("id"))
        for wrong in self._wrong(case, version, response):
            told = f"{case.operation.label} at 2.{int(version)} by {person.name}: {wrong}"
            self.report.failures.append(f"{told}\n    {response.request.url} {(response.request.body or b'')[:600]!r}"[:2000])

    def _aimed(self, case: Case, version: int, mode: GenerationMode, action: str | None) -> None:
        case.path_parameters = self.aim.path(case.operation.path, dict(case.path_parameters or {}), version, action)
        if mode == GenerationMode.POSITIVE:
            case.query = self.aim.query(case.query, version)
            if isinstance(case.body, dict):
                body = self.aim.bootable(self.aim.body(self._pruned(case, version), version), version)
                case.body = self.aim.item(case.operation.path, case.path_parameters, body)

    def _pruned(self, case: Case, version: int) -> Any:
        """Half of the bodies as they came, half without most of what they need not have."""
        rows = [row for row in rows_of(case.operation, version) if row.body is not None and row.action in (None, *case.body)]
        if not rows or self.chance.random() < 0.5:
            return case.body
        return self.aim.pruned(case.body, at(rows[0].body.literal, version))

    def _wrong(self, case: Case, version: int, response: Any) -> Iterator[str]:
        sent = response.request
        if len(sent.url) > LONGEST_LINE:
            if response.status_code != 400:
                yield f"status {response.status_code} for a line that is too long"
            return
        path = sent.url.removeprefix(f"{self.base_url}/v2.1")
        raw = sent.body if isinstance(sent.body, bytes | None) else sent.body.encode()
        exact = breach(sent.method, path, f"2.{int(version)}", raw, response.status_code, response.content)
        if exact is not None:
            yield exact
        told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
        if not response.content and (told.get(EMPTY) or "content" not in told):
            return
        try:
            case.validate_response(response, checks=[CHECKS.get_one(name) for name in CHECKED])
        except schemathesis.core.failures.FailureGroup as group:
            yield from (f"{type(failure).__name__}: {failure}"[:700] for failure in group.exceptions)


def _counts(told: Counter[int]) -> str:
    return " ".join(f"{status}:{count}" for status, count in sorted(told.items()))


def rows_of(operation: Any, version: int) -> list[Route]:
    return [r for r in ROUTES if r.path == operation.path and r.method == operation.method.upper() and r.serves(version)]
