"""What opens guests' encrypted volumes and logs in to where volumes are, as libvirt keeps it: in its memory, and told to nobody but QEMU.

A secret has the volume's id (a login one that follows from that and the guest's), and says which guest it is for. All functions block:
they run in the threads of ``connection``.
"""

import uuid
from xml.etree import ElementTree as Tree

import libvirt

from nova_async.errors import Unsupported

OURS = "nova-async"


def keep(connection: libvirt.virConnect, instance_id: str, volume_id: str, passphrase: str) -> None:
    """Safe to repeat. Raises ``Unsupported`` where the volume service has told nothing that opens the volume."""
    if not passphrase:
        raise Unsupported("The volume service does not tell hosts of this cloud what opens encrypted volumes.")
    _keep(connection, volume_id, ("volume", "volume"), _usage(instance_id, volume_id), passphrase)


def keep_login(connection: libvirt.virConnect, instance_id: str, volume_id: str, password: str) -> None:
    """The password of a CHAP login (RFC 7143). Safe to repeat. Raises ``Unsupported`` where the volume service has told none."""
    if not password:
        raise Unsupported("The volume service does not tell hosts of this cloud the password of the volume's target.")
    _keep(connection, login_id(instance_id, volume_id), ("iscsi", "target"), _usage(instance_id, volume_id), password)


def check(connection: libvirt.virConnect, secret_id: str) -> None:
    """Raises ``Unsupported`` where the operator has not given the host a secret by this id."""
    if not _of(connection, secret_id):
        raise Unsupported(f"The host has no key of Ceph's under the id {secret_id[:64]}: give it one with virsh secret-define.")


def login_id(instance_id: str, volume_id: str) -> str:
    """Guests that share a volume log in each with a password of its own."""
    return str(uuid.uuid5(uuid.UUID(volume_id), f"login {instance_id}"))


def _keep(connection: libvirt.virConnect, secret_id: str, kind: tuple[str, str], used_by: str, value: str) -> None:
    """``kind`` in libvirt's words: the usage's type, and the name of the element that says whose it is."""
    for other in _of(connection, secret_id):
        if other.usageID() != used_by:
            other.undefine()
    secret = Tree.Element("secret", ephemeral="yes", private="yes")
    Tree.SubElement(secret, "uuid").text = secret_id
    usage = Tree.SubElement(secret, "usage", type=kind[0])
    Tree.SubElement(usage, kind[1]).text = used_by
    connection.secretDefineXML(Tree.tostring(secret, encoding="unicode")).setValue(value.encode())


def forget(connection: libvirt.virConnect, instance_id: str, volume_id: str = "") -> None:
    """Of one volume of a guest, or of all. Safe to repeat. Hypervisors that keep no secrets have none to forget."""
    try:
        known = connection.listAllSecrets()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return
        raise
    for secret in known:
        if secret.usageID().startswith(_usage(instance_id, volume_id)):
            secret.undefine()


def _of(connection: libvirt.virConnect, secret_id: str) -> list[libvirt.virSecret]:
    return [secret for secret in connection.listAllSecrets() if secret.UUIDString() == secret_id]


def _usage(instance_id: str, volume_id: str) -> str:
    return f"{OURS}/{instance_id}/{volume_id}"
