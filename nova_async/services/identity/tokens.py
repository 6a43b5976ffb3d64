"""Tokens: what one says, how it is sealed, and by which subjects it can be revoked.

A token is its own record: ``version | key id | msgpack of the fields | HMAC-SHA256``, base64url without padding.
Nothing is looked up to trust it; a list of revoked subjects says which of them have died early. One that access rules bind
has a version of its own: a process that does not know of rules refuses it.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from nova_async.errors import Unauthorized

VERSION = 1
BOUND = 2  # the version of tokens that access rules bind
HEAD = struct.Struct(">BI")
HEAD_CHARACTERS = 8  # of base64, six octets: the head is in them
MAC_OCTETS = 32
MAX_LENGTH = 4096
REMEMBERED = 1024  # tokens: some 300 KiB


class Token(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Who, on what, as what, and until when. Times are seconds since 1970; empty text means "not so".

    The fields travel in this order: new ones go to the end, with a default.
    """

    user_id: str
    user_domain_id: str
    project_id: str = ""
    project_domain_id: str = ""
    domain_id: str = ""
    system: bool = False
    roles: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    issued_at: float
    expires_at: float
    audit_id: str
    parent_audit_id: str = ""
    credential_id: str = ""  # the application credential that it was made with
    marks: tuple[int, ...] = ()  # the epochs of ``subjects`` when it was made
    bound: bool = False  # by the access rules of the credential

    @property
    def scope_id(self) -> str:
        return self.project_id or self.domain_id or ("system" if self.system else "")


def subjects(token: Token) -> tuple[str, ...]:
    """What can be revoked and takes this token with it; ``marks`` are in the same order."""
    return (
        f"token:{token.audit_id}",
        f"user:{token.user_id}",
        f"project:{token.user_domain_id}",
        f"project:{token.scope_id}",
        f"project:{token.project_domain_id}",
        f"grant:{token.user_id}@{token.scope_id}",
        f"credential:{token.credential_id}",
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Token)


def seal(token: Token, key_id: int, secret: bytes) -> str:
    signed = HEAD.pack(BOUND if token.bound else VERSION, key_id) + _encoder.encode(token)
    return base64.urlsafe_b64encode(signed + _mac(signed, secret)).rstrip(b"=").decode()


def unseal(text: str, secrets: Mapping[int, bytes]) -> Token:
    """The token inside, of whatever age; raises ``Unauthorized`` for anything we did not seal ourselves."""
    key_id = key_of(text)
    secret = None if key_id is None else secrets.get(key_id)
    if secret is None:
        raise Unauthorized()
    return _unsealed(text, secret)


@lru_cache(maxsize=REMEMBERED)
def _unsealed(text: str, secret: bytes) -> Token:
    """Good tokens come again with each request of a client, and are remembered; bad ones are not."""
    signed, mac = _open(text)
    if HEAD.unpack_from(signed)[0] not in (VERSION, BOUND) or not hmac.compare_digest(mac, _mac(signed, secret)):
        raise Unauthorized()
    try:
        return _decoder.decode(memoryview(signed)[HEAD.size :])
    except msgspec.MsgspecError:
        raise Unauthorized() from None


def key_of(text: str) -> int | None:
    """The id of the key that a token claims to be signed with; None for what is no token."""
    try:
        return int(HEAD.unpack_from(base64.b64decode(text[:HEAD_CHARACTERS], altchars=b"-_", validate=True))[1])
    except (ValueError, struct.error):
        return None


def _open(text: str) -> tuple[bytes, bytes]:
    if len(text) > MAX_LENGTH:
        raise Unauthorized()
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Unauthorized() from None
    spelt = base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
    if spelt != text or len(octets) <= HEAD.size + MAC_OCTETS:
        raise Unauthorized()
    return octets[:-MAC_OCTETS], octets[-MAC_OCTETS:]


def _mac(signed: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, signed, hashlib.sha256)
