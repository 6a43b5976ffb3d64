"""Signed images with a real Barbican, which Glance and we ask for certificates."""

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.image.signing import Signer, family

SECONDS = 240


def only_signed_images_make_servers(user: Connection, disk: Path) -> None:
    """Whoever signed is known by a certificate that the user keeps at Barbican; so is who vouches for it."""
    data, (root, middle, signer) = disk.read_bytes(), family()
    way = [kept(user, each).id for each in (middle, root)]
    properties = kept(user, signer).signed(data)
    with pytest.raises(exceptions.BadRequestException):
        image(user, "wrong", data + bytes(512), properties)
    signed, unsigned = image(user, "signed", data, properties), image(user, "unsigned", data, {})
    made = server(user, signed.id, trusted_image_certificates=way)
    assert (made.status, made.trusted_image_certificates) == ("ACTIVE", way)
    for refused, words in (
        (server(user, unsigned.id), "servers are made of signed images only"),
        (server(user, signed.id, trusted_image_certificates=way[1:]), "None of the trusted certificates"),
    ):
        assert (refused.status, words in refused.fault["message"]) == ("ERROR", True), refused.fault
    for each in list(user.compute.servers()):
        user.compute.delete_server(each)
        user.compute.wait_for_delete(each, interval=0.5, wait=SECONDS)


def kept(user: Connection, signer: Signer) -> Signer:
    """The signer under the id that Barbican gave the certificate."""
    secret = user.key_manager.create_secret(
        name="certificate",
        secret_type="certificate",
        payload=base64.b64encode(signer.pem).decode(),
        payload_content_type="application/octet-stream",
        payload_content_encoding="base64",
    )
    signer.id = str(secret.secret_ref).rpartition("/")[2]
    return signer


def image(user: Connection, name: str, data: bytes, properties: dict[str, str]) -> Any:
    """Raises ``BadRequestException`` where Glance does not take the bytes."""
    made = user.image.create_image(name, disk_format="qcow2", container_format="bare", allow_duplicates=True, **properties)
    response = user.image.put(f"/images/{made.id}/file", data=data, headers={"Content-Type": "application/octet-stream"})
    exceptions.raise_from_response(response)
    return user.image.get_image(made.id)


def server(user: Connection, image_id: str, **fields: Any) -> Any:
    """As it ends."""
    flavor = user.compute.find_flavor("m1.nano")
    made = user.compute.create_server(name="signed", image_id=image_id, flavor_id=flavor.id, networks="none", **fields)
    with suppress(exceptions.ResourceFailure):
        user.compute.wait_for_server(made, interval=0.5, wait=SECONDS)
    return user.compute.get_server(made.id)
