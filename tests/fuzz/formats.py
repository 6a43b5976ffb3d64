"""Texts in the formats that our schemas name, for Schemathesis: without them most texts of a body would be refused."""

import base64
import string

import schemathesis
from hypothesis import strategies as st

WIDE = string.ascii_letters + string.digits + " -_.:äß名前סדר💩'\"<&%\\"
PATTERNS = ("fuzz", "^f", "[a-z]+", "a|b", ".*", "(?i)FUZZ", r"\d{2,}")


def register() -> None:
    name = st.text(WIDE, min_size=1, max_size=40).map(str.strip).filter(bool)
    schemathesis.openapi.format("name", name)
    schemathesis.openapi.format("base64", st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()))
    schemathesis.openapi.format("regex", st.sampled_from(PATTERNS))
    for low in (-1, 0, 1):
        schemathesis.openapi.format(f"integer:{low}:{2**31 - 1}", st.integers(low, 2**31 - 1).map(str))
