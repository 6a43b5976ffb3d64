"""What hosts measure."""

from nova_async.scheduler.facts import metrics
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState
from nova_async.scheduler.request import Request


class MetricsFilter(Filter):
    """The host reports every metric that ``scheduler.metric_weights`` names."""

    def applies(self, request: Request) -> bool:
        return bool(self.options.metric_weights)

    def reason(self, host: HostState, request: Request) -> str | None:
        missing = self.options.metric_weights.keys() - metrics(host).keys()
        return f"it does not report the metric {', '.join(sorted(missing))}" if missing else None
