"""Policies of the summary of limits."""

from nova_async.policy.rule import ADMIN, ANY, Rule

SHOW = "os_compute_api:limits"
OTHER_PROJECT = "os_compute_api:limits:other_project"

RULES = (
    Rule(SHOW, ANY, "Show the limits of one's project."),
    Rule(OTHER_PROJECT, ADMIN, "Show the limits of another project."),
)
