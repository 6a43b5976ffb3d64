"""What opens guests' encrypted volumes, as libvirt keeps it: in its memory alone, and told to nobody but QEMU.

A secret has the volume's id, and says which guest it is for. All functions block: they run in the threads of ``connection``.
"""

from xml.etree import ElementTree as Tree

import libvirt

from nova_async.errors import Unsupported

OURS = "nova-async"


def keep(connection: libvirt.virConnect, instance_id: str, volume_id: str, passphrase: str) -> None:
    """Safe to repeat. Raises ``Unsupported`` where the volume service has told nothing that opens the volume."""
    if not passphrase:
        raise Unsupported("The volume service does not tell hosts of this cloud what opens encrypted volumes.")
    for other in _of(connection, volume_id):
        if other.usageID() != _usage(instance_id, volume_id):
            other.undefine()
    secret = Tree.Element("secret", ephemeral="yes", private="yes")
    Tree.SubElement(secret, "uuid").text = volume_id
    usage = Tree.SubElement(secret, "usage", type="volume")
    Tree.SubElement(usage, "volume").text = _usage(instance_id, volume_id)
    connection.secretDefineXML(Tree.tostring(secret, encoding="unicode")).setValue(passphrase.encode())


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


def _of(connection: libvirt.virConnect, volume_id: str) -> list[libvirt.virSecret]:
    return [secret for secret in connection.listAllSecrets() if secret.UUIDString() == volume_id]


def _usage(instance_id: str, volume_id: str) -> str:
    return f"{OURS}/{instance_id}/{volume_id}"
