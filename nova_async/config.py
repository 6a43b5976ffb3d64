"""Configuration: one struct per section, read from TOML, overridden by the environment.

``NOVA_ASYNC_<SECTION>_<OPTION>`` beats the file, the file beats the default. Unknown sections and
options are refused, so that a typing error is seen at start. ``config/nova-async.toml`` shows every option.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from nova_async.errors import Invalid
from nova_async.model.names import HOST_NAME
from nova_async.model.topology import DeviceSpec, cpus_of


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Api(Section):
    listen: str = "127.0.0.1:8774"
    public_url: str = ""  # empty: http://<listen>, or https with tls
    tls: bool = False
    tls_certificate: str = ""  # empty: one of the cloud's own authority
    tls_key: str = ""
    max_body_bytes: int = 114_688
    max_limit: int = 1000
    enable_admin_password: bool = True
    policy_file: str = ""  # empty: no overrides
    request_seconds: float = 60.0


class DatabaseSection(Section):
    url: str = ""  # empty: embedded PostgreSQL under state_dir
    pool_size: int = 8
    statement_seconds: float = 15.0


class BusSection(Section):
    url: str = ""  # empty: in process
    tls: bool = False  # who we are is said by our certificate, not by a password
    management_url: str = ""  # of RabbitMQ's management interface; empty: the authority makes no accounts
    prefetch: int = 64
    probe_seconds: float = 5.0
    max_tries: int = 5


class Compute(Section):
    host: str = ""  # empty: the machine's host name
    driver: str = "libvirt"  # libvirt, fake, test or ironic
    libvirt_uri: str = "qemu:///system"
    virt_type: str = "auto"  # auto, kvm or qemu
    cpu_model: str = ""  # empty: the driver's choice
    cpu_features: tuple[str, ...] = ()
    fake_hosts: int = 1
    threads: int = 8
    report_seconds: float = 10.0
    down_seconds: float = 30.0
    reserved_memory_mib: int = 512
    reserved_vcpus: int = 0
    cpu_dedicated_set: str = ""  # empty: none
    cpu_shared_set: str = ""  # empty: all, if none is dedicated
    reserved_disk_gib: int = 0
    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    image_cache_seconds: int = 86_400
    config_drive_format: Literal["iso9660", "vfat"] = "iso9660"
    allow_resize_to_same_host: bool = False
    resize_confirm_window_seconds: float = 0.0  # 0: never by itself
    shelved_offload_seconds: float = 0.0  # negative: never by itself
    reclaim_instance_seconds: float = 0.0  # 0: deleted at once
    resume_guests_on_boot: bool = False
    availability_zone: str = "nova"
    transfer_address: str = ""  # empty: the address of api.listen
    transfer_ports: tuple[int, int] = (16_600, 16_699)  # first and last that disks from other hosts are taken on
    files_dir: str = ""  # empty: state_dir
    physical_networks: dict[str, str] = {}  # of provider networks: name to a bridge of the host's, or for VLANs to any device
    nfs_mount_dir: str = ""  # where shares with volumes are mounted; empty: <state_dir>/mnt
    live_migrations_at_once: int = 1
    live_migration_mib_per_second: int = 0  # 0: as fast as it goes
    live_migration_seconds_per_gib: float = 800.0  # 0: no limit
    live_migration_slow: Literal["abort", "force"] = "abort"
    live_migration_auto_converge: bool = False
    live_migration_post_copy: bool = False
    consoles: tuple[str, ...] = ("vnc", "serial")  # of vnc, spice, serial
    vnc_clipboard: bool = False
    console_address: str = ""  # empty: the address of api.listen
    instance_usage_audit_period: str = "month"  # hour, day, month or year, with an offset as in day@18


class HostDevices(Section):
    """PCI devices of a host, by their ids, their address, or both."""

    vendor_id: str = ""
    product_id: str = ""
    address: str = ""


class Pci(Section):
    alias: tuple[DeviceSpec, ...] = ()
    devices: tuple[HostDevices, ...] = ()  # of this host, for libvirt


class FakeDevices(Section):
    vendor_id: str
    product_id: str
    device_type: str = "type-PCI"
    count: int = 1
    functions: int = 0  # virtual ones of each physical one


class Fake(Section):
    vcpus: int = 64
    memory_mib: int = 262_144
    disk_gib: int = 8192
    cells: int = 1
    threads: int = 1  # of each core
    large_pages: int = 0  # of 2 MiB, in each cell
    huge_pages: int = 0  # of 1 GiB, in each cell
    devices: tuple[FakeDevices, ...] = ()
    seconds: dict[str, float] = {}  # by operation


class Ironic(Section):
    url: str = ""  # empty: where the catalog says
    conductor_group: str = ""  # empty: all
    look_seconds: float = 10.0


class SchedulerSection(Section):
    filters: tuple[str, ...] = (
        "ComputeFilter",
        "ComputeCapabilitiesFilter",
        "ImagePropertiesFilter",
        "ServerGroupAntiAffinityFilter",
        "ServerGroupAffinityFilter",
    )
    weighers: tuple[str, ...] = (
        "RAMWeigher",
        "CPUWeigher",
        "DiskWeigher",
        "HypervisorVersionWeigher",
        "NumInstancesWeigher",
        "IoOpsWeigher",
        "ImagePropertiesWeigher",
        "PCIWeigher",
        "ServerGroupSoftAffinityWeigher",
        "ServerGroupSoftAntiAffinityWeigher",
        "BuildFailureWeigher",
        "CrossCellWeigher",
        "MetricsWeigher",
    )
    multipliers: dict[str, float] = {}
    host_subset_size: int = 1
    shuffle_best_same_weighed_hosts: bool = False
    max_attempts: int = 3
    alternates: int = 3
    max_instances_per_host: int = 50
    max_io_ops_per_host: int = 8
    isolated_hosts: tuple[str, ...] = ()
    isolated_images: tuple[str, ...] = ()
    restrict_isolated_hosts_to_isolated_images: bool = True
    aggregate_image_properties_isolation_namespace: str = ""
    aggregate_image_properties_isolation_separator: str = "."
    image_properties_default_architecture: str = ""
    image_property_weights: dict[str, float] = {}
    metric_weights: dict[str, float] = {}
    metrics_weight_of_unavailable: float = -10_000.0
    enable_isolated_aggregate_filtering: bool = False
    limit_tenants_to_aggregate: bool = False
    aggregate_required_for_tenants: bool = False
    image_type_support_required: bool = False
    image_metadata_prefilter: bool = False


class Conductor(Section):
    workers: int = 1000  # workflows this process runs at once
    lease_seconds: float = 20.0
    poll_seconds: float = 2.0
    command_seconds: float = 60.0  # without a sign of life from the host
    reconcile_seconds: float = 30.0
    fault_points: tuple[str, ...] = ()  # rehearsed crashes and failures: <kind>/<step>/<moment>=<fault>


class Quota(Section):
    instances: int = 10
    cores: int = 20
    ram: int = 51_200
    metadata_items: int = 128
    key_pairs: int = 100
    server_groups: int = 10
    server_group_members: int = 10
    injected_files: int = 5
    injected_file_content_bytes: int = 10_240
    injected_file_path_bytes: int = 255


class Services(Section):
    identity: Literal["builtin", "keystone"] = "builtin"
    image: Literal["builtin", "glance"] = "builtin"
    network: Literal["builtin", "neutron"] = "builtin"
    volume: Literal["builtin", "cinder"] = "builtin"
    key_manager: Literal["builtin", "barbican"] = "builtin"


class Identity(Section):
    url: str = ""  # of a Keystone; for workers: where the identity service is
    token_seconds: int = 3600
    admin_password: str = ""  # empty: made at first start and kept in state_dir
    region: str = "RegionOne"
    username: str = "nova"  # this process's own user, for remote services
    password: str = ""
    project: str = "service"


class ImageSection(Section):
    url: str = ""  # of a Glance; for workers: where the image service is; empty: as the catalog says
    store_dir: str = ""  # empty: <state_dir>/images
    max_size_bytes: int = 64 * 2**30
    max_virtual_size_bytes: int = 256 * 2**30
    certificates_dir: str = ""  # empty: <state_dir>/image-certificates
    key_manager_url: str = ""  # of a Barbican; empty: as the catalog says
    verify_signatures: bool = False
    validate_certificates: bool = False
    default_trusted_certificates: tuple[str, ...] = ()  # ids


class Network(Section):
    url: str = ""  # of a Neutron; empty: as the catalog says
    mode: str = "auto"  # auto, bridge (plumb Linux bridges) or none (rows only, for the fake driver)
    default_cidr: str = "10.77.0.0/24"
    dns_servers: tuple[str, ...] = ()
    dns_domain: str = "openstacklocal"  # of networks that have none of their own
    mtu: int = 1450
    external_cidr: str = "172.24.4.0/24"  # empty: no external network at first start
    auto_cidr: str = "10.100.0.0/16"
    quota_network: int = 100
    quota_subnet: int = 100
    quota_subnetpool: int = 100
    quota_port: int = 500
    quota_router: int = 10
    quota_floatingip: int = 50
    quota_security_group: int = 10
    quota_security_group_rule: int = 100
    gateway_host: str = ""  # empty: the conductor chooses, when a router is made
    router_failover_seconds: float = 120.0  # 0: never
    external_bridge: str = ""  # empty: of the gateway host's own, with NAT


class VolumeSection(Section):
    url: str = ""  # of a Cinder; for workers: where the volume service is; empty: as the catalog says
    backend: str = "file"  # file, rbd or lvm
    file_format: Literal["raw", "qcow2"] = "raw"  # of new files, unless they are encrypted
    store_dir: str = ""  # empty: volumes, beside guests' disks
    rbd_pool: str = "volumes"
    rbd_user: str = "nova"
    rbd_conf: str = "/etc/ceph/ceph.conf"
    rbd_secret: str = ""  # empty: hosts need no key
    lvm_pool: str = ""  # group/thin pool
    protocol: Literal["nbd", "iscsi"] = "nbd"  # by which other hosts reach volumes
    export_address: str = ""  # empty: the address of api.listen
    export_ports: tuple[int, int] = (16_700, 16_999)  # first and last that volumes are handed out at
    quota_volumes: int = 10
    quota_snapshots: int = 10
    quota_gigabytes: int = 1000


class Metadata(Section):
    listen: str = ""  # where proxies ask that know no path, as Neutron's; empty: only below <public_url>/metadata
    url: str = ""  # empty: <public_url>/metadata; workers forward their guests' requests there
    shared_secret: str = ""  # empty: made at first start and kept in state_dir
    dhcp_domain: str = "novalocal"
    vendor_data_file: str = ""  # a JSON object that every guest is told
    vendor_data_targets: tuple[str, ...] = ()  # name@url
    vendor_data_seconds: float = 5.0
    vendor_data_fatal: bool = False
    vendor_data_token: bool = False
    cache_seconds: float = 15.0


class Notifications(Section):
    enabled: bool = False
    topic: str = "versioned_notifications"
    exchange: str = "nova"
    notify_on_state_change: str = ""  # vm_and_task_state: instance.update with each change
    retention_seconds: float = 86_400.0


class Console(Section):
    in_application: bool = True
    listen: str = ""  # empty: on the API's own port, under /console
    public_url: str = ""  # empty: http(s)://<listen>, or <api.public_url>/console
    token_seconds: float = 600.0
    origins: tuple[str, ...] = ()  # beside the console's own
    require_origin: bool = False
    max_sessions: int = 2000
    max_sessions_of_user: int = 100
    max_sessions_of_server: int = 50
    idle_seconds: float = 3600.0
    session_seconds: float = 43_200.0
    vnc_tls_ca: str = ""  # empty: hypervisors' screens are not encrypted
    vnc_tls_cert: str = ""
    vnc_tls_key: str = ""
    spice_direct_url: str = "http://127.0.0.1:13002/nova"


class Certs(Section):
    url: str = ""  # empty: <api.public_url>/certs
    directory: str = ""  # this process's own certificate; empty: <state_dir>/certs
    authority_dir: str = ""  # the authority's keys; empty: <state_dir>/authority
    certificate_hours: float = 720.0
    join_token_seconds: float = 3600.0
    sign_key_pairs: bool = True


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    form: Literal["text", "json"] = "text"


class Config(Section):
    state_dir: str = "var"
    api: Api = msgspec.field(default_factory=Api)
    database: DatabaseSection = msgspec.field(default_factory=DatabaseSection)
    bus: BusSection = msgspec.field(default_factory=BusSection)
    compute: Compute = msgspec.field(default_factory=Compute)
    fake: Fake = msgspec.field(default_factory=Fake)
    ironic: Ironic = msgspec.field(default_factory=Ironic)
    pci: Pci = msgspec.field(default_factory=Pci)
    scheduler: SchedulerSection = msgspec.field(default_factory=SchedulerSection)
    conductor: Conductor = msgspec.field(default_factory=Conductor)
    quota: Quota = msgspec.field(default_factory=Quota)
    services: Services = msgspec.field(default_factory=Services)
    identity: Identity = msgspec.field(default_factory=Identity)
    image: ImageSection = msgspec.field(default_factory=ImageSection)
    network: Network = msgspec.field(default_factory=Network)
    volume: VolumeSection = msgspec.field(default_factory=VolumeSection)
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    notifications: Notifications = msgspec.field(default_factory=Notifications)
    console: Console = msgspec.field(default_factory=Console)
    certs: Certs = msgspec.field(default_factory=Certs)
    log: Log = msgspec.field(default_factory=Log)

    @property
    def state(self) -> Path:
        """Where this process keeps its files; absolute."""
        return Path(self.state_dir).absolute()

    @property
    def files(self) -> Path:
        """Where guests' disks and the image cache are; absolute."""
        return Path(self.compute.files_dir).absolute() if self.compute.files_dir else self.state

    @property
    def public_url(self) -> str:
        return (self.api.public_url or f"{self.scheme}://{self.api.listen}").rstrip("/")

    @property
    def scheme(self) -> str:
        return "https" if self.api.tls else "http"

    @property
    def own_address(self) -> str:
        """Where other hosts find this one."""
        host = self.api.listen.rpartition(":")[0].strip("[]")
        return host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"

    @property
    def console_url(self) -> str:
        """Where browsers find the pages and WebSockets of consoles."""
        own = f"{self.scheme}://{self.console.listen}" if self.console.listen else f"{self.public_url}/console"
        return (self.console.public_url or own).rstrip("/")

    @property
    def certs_url(self) -> str:
        """Where the certificate authority answers."""
        return (self.certs.url or f"{self.public_url}/certs").rstrip("/")

    @property
    def certificate_dir(self) -> Path:
        return Path(self.certs.directory).absolute() if self.certs.directory else self.state / "certs"

    @property
    def image_certificates_dir(self) -> Path:
        """Certificates of those who sign images; absolute."""
        return Path(self.image.certificates_dir).absolute() if self.image.certificates_dir else self.state / "image-certificates"

    @property
    def authority_dir(self) -> Path:
        return Path(self.certs.authority_dir).absolute() if self.certs.authority_dir else self.state / "authority"


def load(
    path: str | Path | None = None,
    environment: Mapping[str, str] = os.environ,
    defaults: Mapping[str, dict[str, Any]] = {},
    **overrides: Any,
) -> Config:
    """Read the file (if any), then the environment, then ``overrides`` (``section__option=value``).

    ``defaults``, by section, hold where nobody says otherwise.

    Raises ``Invalid`` naming the option that is unknown or of the wrong type.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(Path(path).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise Invalid(f"configuration {path}: {error}") from None
    for section, options in defaults.items():
        tree[section] = options | tree.get(section, {})
    for name, text in environment.items():
        if name.startswith("NOVA_ASYNC_") and name != "NOVA_ASYNC_CONFIG":
            _set(tree, name.removeprefix("NOVA_ASYNC_").lower(), text)
    for name, value in overrides.items():
        section, _, option = name.partition("__")
        if option:
            tree.setdefault(section, {})[option] = value
        else:
            tree[section] = value
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"configuration: {error}") from None
    _check(config)
    return config


def _check(config: Config) -> None:
    """What one option's type cannot say. Raises ``Invalid``."""
    for option in ("cpu_dedicated_set", "cpu_shared_set"):
        try:
            cpus_of(getattr(config.compute, option))
        except ValueError as error:
            raise Invalid(f"configuration: compute.{option}: {error}") from None
    if both := cpus_of(config.compute.cpu_dedicated_set) & cpus_of(config.compute.cpu_shared_set):
        raise Invalid(f"configuration: compute.cpu_dedicated_set and compute.cpu_shared_set both have the CPU {min(both)}")
    if reason := _refused_uri(config.compute.libvirt_uri):
        raise Invalid(f"configuration: compute.libvirt_uri: {config.compute.libvirt_uri[:100]!r}: {reason}")
    policies: dict[str, set[tuple[str, str | None]]] = {}
    for alias in config.pci.alias:
        policies.setdefault(alias.name, set()).add((alias.numa_policy, alias.device_type))
        if alias.numa_policy not in NUMA_POLICIES:
            raise Invalid(f"configuration: pci.alias: {alias.numa_policy!r} is not one of {', '.join(NUMA_POLICIES)}")
        if alias.device_type not in (None, *DEVICE_TYPES):
            raise Invalid(f"configuration: pci.alias: {alias.device_type!r} is not one of {', '.join(DEVICE_TYPES)}")
    for name, kinds in policies.items():
        if len(kinds) > 1:
            raise Invalid(f"configuration: pci.alias: {name!r} stands there with different numa_policy or device_type")
    if config.services.identity == "keystone" and not (config.identity.url and config.identity.password):
        raise Invalid("configuration: services.identity is keystone, which needs identity.url, identity.username and identity.password")
    for kind, option, url in (
        (config.services.image, "image.url", config.image.url),
        (config.services.network, "network.url", config.network.url),
        (config.services.key_manager, "image.key_manager_url", config.image.key_manager_url),
    ):
        if kind != "builtin" and config.services.identity == "builtin" and not url:
            raise Invalid(f"configuration: {option} must say where {kind} is: no Keystone's catalog does")
    if config.image.validate_certificates and not config.image.verify_signatures:
        raise Invalid("configuration: image.validate_certificates has no effect without image.verify_signatures; set both or neither")
    if len(config.image.default_trusted_certificates) > MOST_TRUSTED:
        raise Invalid(f"configuration: image.default_trusted_certificates may be {MOST_TRUSTED} at most")
    if config.network.dns_domain and not HOST_NAME.fullmatch(config.network.dns_domain):
        raise Invalid(f"configuration: network.dns_domain: {config.network.dns_domain[:100]!r} is no domain")
    fake = config.fake
    if fake.cells < 1 or fake.threads < 1 or fake.vcpus % (fake.cells * fake.threads):
        raise Invalid("configuration: fake.vcpus must be a multiple of fake.cells * fake.threads, which are at least 1")


def _refused_uri(uri: str) -> str | None:
    """Why a worker cannot drive what the URI names, or None. docs/hypervisors.md says what each hypervisor can do."""
    driver, _, transport = uri.partition(":")[0].partition("+")
    place = uri.partition("://")[2]
    if driver == "test":
        return None
    if driver in ("qemu", "xen"):
        if transport in ("", "unix") and place[:1] == "/":
            return None
        return f"a worker runs on the hypervisor's own host, whose files its guests' disks are: use {driver}:///system or {driver}+unix:///system"
    if driver == "esx":
        return None if not transport and place[:1] not in ("", "/") else "the address of the ESX host is missing: use esx://user@host/"
    return "it names none of libvirt's drivers that a worker knows; use qemu:///system"


MOST_TRUSTED = 50  # certificates of one server, as Nova has it
NUMA_POLICIES = ("required", "socket", "legacy", "preferred")
DEVICE_TYPES = ("type-PCI", "type-PF", "type-VF")


def _set(tree: dict[str, Any], name: str, text: str) -> None:
    """Place the value of one environment variable, JSON where the option is a list or a table."""
    section, _, option = name.partition("_")
    value: Any = msgspec.json.decode(text) if text[:1] in ("[", "{") else text
    if name in Config.__struct_fields__:
        tree[name] = value
    elif section in Config.__struct_fields__ and option:
        tree.setdefault(section, {})[option] = value
    else:
        raise Invalid(f"environment: no option is named NOVA_ASYNC_{name.upper()}")
