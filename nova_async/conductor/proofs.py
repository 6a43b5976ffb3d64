"""Which images servers may be made of: with ``image.verify_signatures``, or trusted certificates of the server's own, signed ones only.

What needs no bytes is checked here, before a host is asked; the host checks the bytes, by the ``Proof`` that goes along.
"""

import msgspec
from cryptography import x509

from nova_async import log
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import instance_of
from nova_async.config import MOST_TRUSTED
from nova_async.context import service_context
from nova_async.errors import Invalid, NotFound
from nova_async.model.guests import GuestSpec, ImageRef, Proof
from nova_async.model.instances import Instance
from nova_async.services.image import signatures

VERIFIES = "COMPUTE_TRUSTED_CERTS"  # the trait of hosts that check the bytes
logger = log.get("conductor.proofs")


def asks_for_proof(run: Run, instance: Instance) -> bool:
    """Whether its image must be signed; a server without an image has volumes, which are not asked about."""
    return bool(instance.image_id and (_trusted_names(run, instance) or run.parts.config.image.verify_signatures))


async def with_proof(run: Run, guest: GuestSpec) -> GuestSpec:
    """A guest whose disks are to be made of its image. Raises as ``proven``."""
    return guest if guest.image is None else msgspec.structs.replace(guest, image=await proven(run, guest.image))


async def proven(run: Run, image: ImageRef) -> ImageRef:
    """The image with its proof, where one is asked for. Raises ``Invalid``, saying what to change; ``Unavailable``."""
    instance = await instance_of(run)
    if not asks_for_proof(run, instance):
        return image
    try:
        _check_host(run, instance)
        proof = await _proof(run, image, _trusted_names(run, instance))
        signatures.claim_of(proof, run.world.now())
    except Invalid as error:
        raise Invalid(f"Image {image.id} may not be used: {error.message}", detail=error.detail) from None
    return msgspec.structs.replace(image, proof=proof)


def _trusted_names(run: Run, instance: Instance) -> tuple[str, ...]:
    """Of the server's own certificates, else of the operator's."""
    options = run.parts.config.image
    return tuple(instance.trusted_certs or (options.default_trusted_certificates if options.validate_certificates else ()))


def _check_host(run: Run, instance: Instance) -> None:
    """Of a server that has one already: others are found by their traits."""
    host = run.parts.scheduler.table.by_name.get(instance.host or "")
    if host is not None and VERIFIES not in host.traits:
        raise Invalid(f"the server's host cannot verify images; it lacks the trait {VERIFIES}.")


async def _proof(run: Run, image: ImageRef, names: tuple[str, ...]) -> Proof:
    properties = await _signature_of(run, image)
    if lacking := signatures.missing(properties):
        raise Invalid(f"servers are made of signed images only, and it lacks {', '.join(lacking)}.")
    certificate = await run.parts.certificates.get(run.ctx, properties[signatures.CERTIFICATE])
    trusted = None
    if names:
        above = signatures.chain(certificate, await _trusted(run, names), run.world.now())
        trusted = tuple(signatures.write(each) for each in above)
    elif run.parts.config.image.validate_certificates:
        raise Invalid("no trusted certificates are known; name some by trusted_image_certificates.")
    return Proof(properties=properties, certificate=signatures.write(certificate), trusted=trusted)


async def _signature_of(run: Run, image: ImageRef) -> dict[str, str]:
    """As the image service knows it now: it may have been signed anew since the server was made. A deleted image's is the last known."""
    try:
        found = await run.parts.images.get(service_context(run.row.request_id), image.id)
    except NotFound:
        properties = image.properties
    else:
        properties = found.properties
    return {name: properties[name] for name in signatures.PROPERTIES if name in properties}


async def _trusted(run: Run, names: tuple[str, ...]) -> list[x509.Certificate]:
    """Those that can be had; others vouch for nobody."""
    found = []
    for name in names[:MOST_TRUSTED]:
        try:
            found.append(await run.parts.certificates.get(run.ctx, name))
        except Invalid as error:
            logger.warning("image.trusted_certificate_skipped", certificate=name, error=error.message)
    return found
