"""What a server's row becomes in its guest's documents."""

import msgspec

from nova_async.db import instances
from nova_async.metadata.documents import ec2
from nova_async.metadata.instances import metadata_of
from nova_async.model.guests import FixedIp, PortSpec


def card(number: int, *floating: str) -> PortSpec:
    ip = FixedIp(address=f"10.77.0.{number}", subnet_id="s", cidr="10.77.0.0/24", floating=floating)
    return PortSpec(id=str(number), network_id="n", mac=f"fa:16:3e:00:00:{number:02x}", bridge="b", device="d", fixed_ips=(ip,))


async def test_ec2_names_the_floating_ip_and_the_volumes(api) -> None:
    async with api.database.connection() as conn:
        (row,) = (await instances.by_ids(conn, [await api.server()])).values()
    volumes = [
        {"kind": "volume", "device": "/dev/vdc"},
        {"kind": "volume", "device": "/dev/vdb"},
        {"kind": "volume"},
        {"kind": "swap", "size": 1},
    ]
    row = msgspec.structs.replace(row, block_devices=volumes)
    told = metadata_of(row, (card(5), card(6, "172.24.4.9", "172.24.4.10")), "", api.parts.config)

    def read(path: str) -> str:
        return ec2(told, f"/latest/meta-data/{path}").decode()

    assert (read("local-ipv4"), read("public-ipv4")) == ("10.77.0.5", "172.24.4.9")
    assert [read(f"block-device-mapping/ebs{n}") for n in range(2)] == ["/dev/vdb", "/dev/vdc"]
    assert "ebs2" not in read("block-device-mapping/")
    told = metadata_of(row, (card(5),), "", api.parts.config)
    assert read("public-ipv4") == ""
