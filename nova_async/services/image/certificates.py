"""Where the certificates of those who sign images come from: a folder of the operator's, or a key manager (Barbican)."""

import asyncio
from pathlib import Path
from typing import Protocol

from cryptography import x509

from nova_async import errors
from nova_async.config import Config
from nova_async.context import Context
from nova_async.services.callers import CallersTokens
from nova_async.services.image import rules, signatures
from nova_async.services.key_manager import Barbican

MOST_BYTES = 65_536  # of one certificate


class Certificates(Protocol):
    async def get(self, ctx: Context, certificate_id: str) -> x509.Certificate:
        """Raises ``Invalid`` where there is none that the caller may use, ``Unavailable``."""
        ...


class CertificateFolder:
    """Files ``<id>.pem``, which everybody may use."""

    def __init__(self, config: Config) -> None:
        self._folder = config.image_certificates_dir

    async def get(self, ctx: Context, certificate_id: str) -> x509.Certificate:
        """See ``Certificates.get``."""
        name = f"{_checked(certificate_id)}.pem"
        try:
            data = await asyncio.to_thread(_read, self._folder / name)
        except FileNotFoundError:
            raise errors.Invalid(
                f"There is no certificate {certificate_id}; the operator puts them where image.certificates_dir says."
            ) from None
        except OSError as error:
            raise errors.Unavailable(f"The certificate {certificate_id} cannot be read now.", detail=errors.plain(error)) from None
        return _certificate(certificate_id, data)


class KeptCertificates:
    """Secrets of a Barbican, read with the caller's token; with ours where it is not known any more."""

    def __init__(self, barbican: Barbican, callers: CallersTokens) -> None:
        self._barbican, self._callers = barbican, callers

    async def get(self, ctx: Context, certificate_id: str) -> x509.Certificate:
        """See ``Certificates.get``."""
        try:
            data = await self._barbican.payload(_checked(certificate_id), self._callers.of(ctx.request_id))
        except (errors.NotFound, errors.Forbidden, errors.Unauthorized) as error:
            raise errors.Invalid(
                f"The key manager has no certificate {certificate_id} that the caller may use.", detail=errors.plain(error)
            ) from None
        return _certificate(certificate_id, data)


def _checked(certificate_id: str) -> str:
    """Fit for a path."""
    if not rules.UUID.fullmatch(certificate_id):
        raise errors.Invalid(f"{certificate_id[:64]!r} is no id of a certificate: a UUID is expected.")
    return certificate_id.lower()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def _certificate(certificate_id: str, data: bytes) -> x509.Certificate:
    try:
        return signatures.read(data)
    except errors.Invalid as error:
        raise errors.Invalid(f"The certificate {certificate_id} cannot be used. {error.message}") from None
