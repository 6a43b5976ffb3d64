"""Policy of the scheduling decisions of a server (an addition to Nova's API)."""

from nova_async.policy.rule import ADMIN, Rule

SHOW = "nova_async:servers:scheduling"

RULES = (Rule(SHOW, ADMIN, "Show why a server was placed where it is, or nowhere: names every host."),)
