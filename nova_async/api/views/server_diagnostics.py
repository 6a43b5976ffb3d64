"""What is known of a running server. Before 2.48 the keys are the driver's own."""

from nova_async.api.render import AsItIs
from nova_async.api.schema import first, since, until
from nova_async.api.shapes import ANYTHING, BOOLEAN, INTEGER, MAYBE_INTEGER, MAYBE_TEXT, TEXT, array, closed, mapping, one_of
from nova_async.api.versions import V

TRAFFIC = tuple(f"{way}_{what}" for way in ("rx", "tx") for what in ("octets", "errors", "drop", "packets", "rate"))
DISK = ("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count")
COMMON = closed(
    {
        "state": one_of("pending", "running", "paused", "shutdown", "crashed", "suspended"),
        "driver": one_of("libvirt", "xenapi", "vmwareapi", "ironic", "hyperv"),
        "hypervisor": MAYBE_TEXT,
        "hypervisor_os": MAYBE_TEXT,
        "uptime": MAYBE_INTEGER,
        "config_drive": BOOLEAN,
        **dict.fromkeys(("num_cpus", "num_nics", "num_disks"), INTEGER),
        "memory_details": closed({"maximum": MAYBE_INTEGER, "used": MAYBE_INTEGER}),
        "cpu_details": array(closed(dict.fromkeys(("id", "time", "utilisation"), MAYBE_INTEGER))),
        "nic_details": array(closed({"mac_address": TEXT, **dict.fromkeys(TRAFFIC, MAYBE_INTEGER)})),
        "disk_details": array(closed(dict.fromkeys(DISK, MAYBE_INTEGER))),
    }
)
NODE = closed(
    {
        "memory_mb": INTEGER,
        "siblings": array(array(INTEGER)),
        "vcpu_set": array(INTEGER),
        "host_node": INTEGER,
        "cpu_pinning": {"type": "object", "additionalProperties": INTEGER},
    },
    ("host_node", "cpu_pinning"),
)

SHOW = AsItIs(first(until(V.COMMON_DIAGNOSTICS - 1, mapping(ANYTHING)), since(V.COMMON_DIAGNOSTICS, COMMON)))
TOPOLOGY = AsItIs(closed({"nodes": array(NODE), "pagesize_kb": MAYBE_INTEGER}, ("pagesize_kb",)))
