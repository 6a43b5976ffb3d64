"""Filters and weighers of an operator's own."""

import numpy as np
import pytest

from nova_async.errors import Invalid
from nova_async.scheduler.filters import Filter
from tests.scheduler.hosts import decide, row, table

HERE = __name__


class OnlyOddHosts(Filter):
    def reason(self, host, asked):
        return None if host.name[-1] in "13579" else "it is even"


class OnlyOddHostsAtOnce(OnlyOddHosts):
    def mask(self, table, asked):
        return [state.name[-1] in "13579" for state in table.states]


class Raises(Filter):
    def reason(self, host, asked):
        raise KeyError("size")


class RaisesFromTheStart(Raises):
    def applies(self, asked):
        raise KeyError("size")

    def mask(self, table, asked):
        raise KeyError("size")


class JudgesTooFew(Filter):
    def mask(self, table, asked):
        return np.ones(1, bool)

    def reason(self, host, asked):
        return None


class NotMade(Filter):
    def __init__(self, options):
        raise ValueError("no coffee")


class NoFilter:
    pass


class LastFirst:
    def __call__(self, table, asked):
        return np.arange(len(table))


class WeighsTooFew:
    def __call__(self, table, asked):
        return [1.0]


class WeighsNothing:
    def __call__(self, table, asked):
        return np.full(len(table), np.nan)


class WeighsNot:
    def __call__(self, table, asked):
        raise KeyError("size")


@pytest.mark.parametrize("name", ["OnlyOddHosts", "OnlyOddHostsAtOnce"])
@pytest.mark.parametrize("separator", [".", ":"])
def test_a_filter_of_the_operators_own_is_asked(name, separator) -> None:
    decision = decide(table(row("host1"), row("host2")), filters=(f"{HERE}{separator}{name}",))
    assert [c.host for c in decision.candidates] == ["host1"]
    assert (decision.refusals["host2"].filter, decision.refusals["host2"].reason) == (name, "it is even")


@pytest.mark.parametrize("name", ["Raises", "RaisesFromTheStart"])
def test_one_that_fails_refuses_and_says_so(name) -> None:
    decision = decide(table(row("host1"), row("host2")), filters=("ComputeFilter", f"{HERE}.{name}"))
    assert (decision.candidates, decision.counts) == ([], {name: 2})
    assert decision.refusals["host1"].reason == "the filter failed (KeyError)"


def test_one_that_does_not_judge_every_host_refuses_all() -> None:
    assert decide(table(row("host1"), row("host2")), filters=(f"{HERE}.JudgesTooFew",)).candidates == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoSuchFilter", r"scheduler\.filters: 'NoSuchFilter' is no known name"),
        ("no.such.module.Filter", r"'no\.such\.module\.Filter' cannot be imported \(ModuleNotFoundError: No module named 'no'\)"),
        (f"{HERE}.Missing", "has no 'Missing'"),
        (f"{HERE}.NoFilter", r"is not a class that inherits nova_async\.scheduler\.filters\.base\.Filter"),
        (f"{HERE}.HERE", "is not a class"),
        (f"{HERE}.NotMade", r"cannot be made \(ValueError: no coffee\)"),
        ("broken_plugin.Filter", r"cannot be imported \(SyntaxError"),
    ],
)
def test_one_that_cannot_be_used_is_named_at_once(name, words, tmp_path, monkeypatch) -> None:
    if "broken_plugin" in name:
        (tmp_path / "broken_plugin.py").write_text("class Filter(\n")
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Invalid, match=words):
        decide(table(), filters=(name,))


def test_a_weigher_of_the_operators_own_counts_by_its_multiplier() -> None:
    hosts, name = table(row("host1"), row("host2"), row("host3")), f"{HERE}.LastFirst"
    assert [c.host for c in decide(hosts, weighers=(name,)).candidates] == ["host3", "host2", "host1"]
    assert [c.host for c in decide(hosts, weighers=(name,), multipliers={name: -2.0}).candidates] == ["host1", "host2", "host3"]


@pytest.mark.parametrize("name", ["WeighsTooFew", "WeighsNothing", "WeighsNot"])
def test_a_weigher_that_fails_lets_all_be_alike(name) -> None:
    decision = decide(table(row("host1"), row("host2")), weighers=(f"{HERE}.{name}",))
    assert [(c.host, c.weight) for c in decision.candidates] == [("host1", 0.0), ("host2", 0.0)]


@pytest.mark.parametrize("name", ["no.such.Weigher", "NoWeigher", f"{HERE}.NoFilter"])
def test_a_weigher_that_cannot_be_used_is_named_at_once(name) -> None:
    with pytest.raises(Invalid, match=r"scheduler\.weighers"):
        decide(table(), weighers=(name,))
