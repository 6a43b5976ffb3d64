"""Who may do what: Nova's policy names and defaults, decided by oslo.policy so that an operator's file means what it means there."""

from nova_async.policy.enforcer import Policy
from nova_async.policy.rule import Rule
from nova_async.policy.rules import RULES

__all__ = ["RULES", "Policy", "Rule"]
