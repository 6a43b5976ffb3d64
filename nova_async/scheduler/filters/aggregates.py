"""Filters that compare a request with the metadata of a host's aggregates. Values may list several words, with commas."""

from nova_async.model.extra_specs_ops import PLAIN_WORDS, matches
from nova_async.scheduler.filters.base import AggregateFilter
from nova_async.scheduler.hosts import Membership
from nova_async.scheduler.request import Request

SCOPE = "aggregate_instance_extra_specs:"
TENANT = "filter_tenant_id"


class AggregateInstanceExtraSpecsFilter(AggregateFilter):
    """Extra specs ``aggregate_instance_extra_specs:key = [operator] value``, and keys without a scope, hold on the metadata."""

    def applies(self, request: Request) -> bool:
        return bool(_wanted(request.extra_specs))

    def verdict(self, membership: Membership, request: Request) -> str | None:
        for key, wanted in _wanted(request.extra_specs).items():
            words = membership.words(key)
            if not words:
                return f"its aggregates do not say {key} (needs {wanted})"
            if not any(matches(word, wanted) for word in words):
                return f"its aggregates say {key} is {_listed(words)}, needs {wanted}"
        return None


class AggregateImagePropertiesIsolation(AggregateFilter):
    """Metadata whose keys are properties of the image have the image's values.

    ``aggregate_image_properties_isolation_namespace`` limits that to keys which begin with it and the separator.
    """

    def verdict(self, membership: Membership, request: Request) -> str | None:
        prefix = self.options.aggregate_image_properties_isolation_namespace
        if prefix:
            prefix += self.options.aggregate_image_properties_isolation_separator
        for key, value in request.image_properties.items():
            words = membership.words(key) if key.startswith(prefix) else set()
            if value and words and str(value) not in words:
                return f"its aggregates take images with {key} {_listed(words)}, this one has {value}"
        return None


class AggregateMultiTenancyIsolation(AggregateFilter):
    """Aggregates with ``filter_tenant_id`` (also with something after it) take those projects only."""

    def verdict(self, membership: Membership, request: Request) -> str | None:
        projects = tenants(membership)
        return None if not projects or request.project_id in projects else "its aggregates are for other projects"


class AggregateTypeAffinityFilter(AggregateFilter):
    """Aggregates with ``instance_type`` take those flavors only."""

    def verdict(self, membership: Membership, request: Request) -> str | None:
        flavors = membership.words("instance_type")
        return None if not flavors or request.flavor_name in flavors else f"its aggregates take flavors {_listed(flavors)} only"


def tenants(membership: Membership) -> set[str]:
    """The projects that these aggregates are for; empty: for all."""
    keys = {key for label in membership.labels for key in label.metadata if key.startswith(TENANT)}
    return {word for key in keys for word in membership.words(key)}


def _wanted(extra_specs: dict[str, str]) -> dict[str, str]:
    wanted = {key: value for key, value in extra_specs.items() if key.startswith(SCOPE) or (":" not in key and key not in PLAIN_WORDS)}
    return {key.removeprefix(SCOPE): value for key, value in wanted.items()}


def _listed(words: set[str]) -> str:
    return " or ".join(sorted(words))
