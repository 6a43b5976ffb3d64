"""Every microversion: its number, the NAME by which the code asks for it, and what it changed."""

import re
from enum import IntEnum

from multidict import CIMultiDictProxy

from nova_async.errors import Invalid, NotAcceptable


class V(IntEnum):
    """The part after the point: ``V.TAGS`` is 2.26. Members compare as numbers."""

    sentence: str

    def __new__(cls, number: int, sentence: str) -> "V":
        member = int.__new__(cls, number)
        member._value_ = number
        member.sentence = sentence
        return member

    BASE = 1, "As v2.0 was frozen, with bodies checked strictly; used when no version is asked for."
    KEYPAIR_TYPES = 2, "Key pairs have a type; create answers 201, delete 204."
    EXTENDED_SERVER_ATTRIBUTES = 3, "Administrators see hostname, reservation, launch index, kernel, ramdisk, root device and user data."
    FIXED_IP_RESERVED = 4, "Fixed IPs show reserved (the resource is gone)."
    FILTER_IP6 = 5, "Anybody may filter servers by ip6."
    REMOTE_CONSOLES = 6, "POST remote-consoles replaces the os-get*Console actions."
    PUBLIC_FLAVOR_ACCESS_CONFLICT = 7, "Granting access to a public flavor is a conflict."
    MKS_CONSOLE = 8, "remote-consoles takes protocol mks."
    LOCKED = 9, "Servers show whether they are locked."
    KEYPAIRS_OF_OTHERS = 10, "Administrators may work on the key pairs of another user."
    SERVICE_FORCED_DOWN = 11, "Services show forced_down and can be forced down."
    VIRTUAL_INTERFACE_NETWORK = 12, "Virtual interfaces show their network (the resource is gone)."
    SERVER_GROUP_OWNER = 13, "Server groups show project and user."
    EVACUATE_WITHOUT_SHARED_STORAGE = 14, "Evacuate finds out about shared storage itself and answers nothing."
    SOFT_AFFINITY = 15, "Server groups take soft-affinity and soft-anti-affinity."
    HOST_STATUS = 16, "Servers show host_status to those who may see it."
    CRASH_DUMP = 17, "Action trigger_crash_dump."
    PROJECT_ID_OPTIONAL = 18, "URLs need no project id."
    DESCRIPTION = 19, "Servers have a description."
    ATTACH_WHILE_SHELVED = 20, "Volumes are attached to and detached from shelved servers."
    ACTIONS_OF_DELETED = 21, "The actions of deleted servers can be read."
    FORCE_COMPLETE = 22, "A live migration can be told to complete."
    SERVER_MIGRATIONS = 23, "The migrations of a server are a resource."
    ABORT_MIGRATION = 24, "A running live migration can be aborted."
    BLOCK_MIGRATION_AUTO = 25, "Live migration finds out about block migration itself."
    TAGS = 26, "Servers have tags, and lists are filtered by them."
    VERSION_HEADER = 27, "The version may be asked for with OpenStack-API-Version."
    CPU_INFO_OBJECT = 28, "A hypervisor's cpu_info is an object."
    EVACUATE_CHECKED = 29, "Evacuate to a host asks the scheduler unless forced."
    LIVE_MIGRATE_CHECKED = 30, "Live migration to a host asks the scheduler unless forced."
    ANY_CONSOLE_TOKEN = 31, "Console tokens of every type can be looked up."
    DEVICE_TAGS = 32, "Networks and block devices of a new server may be tagged."
    PAGED_HYPERVISORS = 33, "Hypervisors are paged; new block devices lose their tags until 2.42."
    LIVE_MIGRATE_IN_BACKGROUND = 34, "Live migration is checked in the background."
    PAGED_KEYPAIRS = 35, "Key pairs are paged."
    NO_PROXIES = 36, "The proxies to image, network and volume services are gone, and so are network quotas."
    NETWORKS_MANDATORY = 37, "A new server says its networks, or auto, or none; networks lose their tags until 2.42."
    STATUS_FILTER_CHECKED = 38, "An unknown status in a filter is refused."
    NO_IMAGE_METADATA = 39, "The proxy to image metadata is gone."
    PAGED_USAGE = 40, "Usage is paged."
    AGGREGATE_UUID = 41, "Aggregates show a uuid."
    DEVICE_TAGS_AGAIN = 42, "Networks and block devices of a new server may be tagged again."
    NO_HOSTS = 43, "os-hosts is gone."
    NO_MULTINIC = 44, "The actions on fixed and floating IPs are gone."
    IMAGE_ID_IN_BODY = 45, "createImage and createBackup answer with the image id."
    REQUEST_ID_HEADER = 46, "X-OpenStack-Request-ID is announced."
    EMBEDDED_FLAVOR = 47, "Servers show what their flavor was, not a link to it."
    COMMON_DIAGNOSTICS = 48, "Diagnostics look the same for every driver."
    ATTACH_TAGS = 49, "Attached ports and volumes may be tagged."
    QUOTA_CLASS_GROUPS = 50, "Quota classes know server groups, and no networks."
    VOLUME_EXTENDED = 51, "Event volume-extended; owners see the events of an action."
    CREATE_TAGS = 52, "A new server may have tags."
    SERVICE_UUIDS = 53, "Services and hypervisors are named by uuid."
    REBUILD_KEY = 54, "Rebuild may change the key pair."
    FLAVOR_DESCRIPTION = 55, "Flavors have a description, which may be changed."
    MIGRATE_HOST = 56, "Cold migration may name the host."
    NO_PERSONALITY = 57, "Injected files are gone; rebuild takes user data."
    PAGED_ACTIONS = 58, "Instance actions are paged and show when they changed."
    PAGED_MIGRATIONS = 59, "Migrations are paged and have a uuid."
    MULTIATTACH = 60, "A volume may be attached to several servers."
    FLAVOR_EXTRA_SPECS = 61, "Flavors show their extra specs."
    EVENT_HOST = 62, "The events of an action name the host."
    TRUSTED_CERTIFICATES = 63, "A server may name the certificates that its image must be signed with."
    SERVER_GROUP_RULES = 64, "A server group has one policy with rules."
    ABORT_QUEUED_MIGRATION = 65, "A live migration that waits can be aborted."
    CHANGES_BEFORE = 66, "Lists are filtered by changes-before."
    VOLUME_TYPE = 67, "A block device may name a volume type."
    NO_FORCE = 68, "Live migration and evacuation cannot be forced."
    PARTIAL_RESULTS = 69, "Records of unreachable cells are shown in part."
    ATTACHMENT_TAGS_SHOWN = 70, "Attachments show their tag."
    SERVER_GROUPS_SHOWN = 71, "A server shows the groups that it is in."
    PORT_RESOURCES = 72, "Ports may ask for resources."
    LOCKED_REASON = 73, "A lock may have a reason."
    REQUESTED_DESTINATION = 74, "A new server may ask for a host that the scheduler checks."
    STRICT_QUERIES = 75, "Unknown keys are refused; update and rebuild show as much as show; an empty swap is 0."
    POWER_UPDATE = 76, "Event power-update."
    UNSHELVE_ZONE = 77, "Unshelve may name an availability zone."
    TOPOLOGY = 78, "A server's NUMA topology can be read."
    DELETE_ON_TERMINATION = 79, "Attachments say whether the volume dies with the server."
    MIGRATION_OWNER = 80, "Migrations show user and project."
    CACHE_IMAGES = 81, "Images can be fetched to an aggregate's hosts beforehand."
    ACCELERATOR_EVENT = 82, "Event accelerator-request-bound."
    MORE_FILTERS = 83, "Eleven more filters of server lists are open to all."
    EVENT_DETAILS = 84, "The events of an action show what went wrong."
    CHANGE_DELETE_ON_TERMINATION = 85, "delete_on_termination of an attachment may be changed."
    EXTRA_SPECS_CHECKED = 86, "Extra specs are checked."
    RESCUE_FROM_VOLUME = 87, "Servers on volumes can be rescued."
    NO_HYPERVISOR_COUNTERS = 88, "Hypervisors show no counters."
    ATTACHMENT_IDS = 89, "Attachments show attachment_id and bdm_uuid."
    HOSTNAME = 90, "A server's hostname can be chosen and is shown to all."
    UNSHELVE_HOST = 91, "Unshelve may name a host, and pins or unpins the zone."
    KEYPAIRS_IMPORTED_ONLY = 92, "Key pairs are no longer made by the server."
    REBUILD_VOLUME = 93, "Servers on volumes can be rebuilt."
    FQDN_HOSTNAME = 94, "A hostname may be a domain name."
    EVACUATED_STOPPED = 95, "Evacuated servers stay off."
    PINNED_ZONE = 96, "Servers show the zone that they are pinned to."
    SHARES = 97, "Shares can be attached."
    IMAGE_PROPERTIES = 98, "Servers show the properties of their image."
    SPICE_DIRECT = 99, "Console type spice-direct."
    SCHEDULER_HINTS = 100, "Servers show their scheduler hints."
    ATTACH_IN_BACKGROUND = 101, "Attaching a volume answers at once."
    STRICT_EVERYWHERE = 102, "Unknown query keys are refused everywhere; flavors lose rxtx_factor and disabled."
    NO_VOLUMES_BOOT = 103, "os-volumes_boot is gone."
    UPDATE_PINNED_ZONE = 104, "The zone that a server is pinned to may be changed."


LATEST = max(V)
FORM = re.compile(r"([1-9]\d{0,5})\.([1-9]\d{0,5}|0)")
STANDARD, OLDER = "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"


def asked(headers: CIMultiDictProxy[str]) -> str | None:
    """The text of the version that a request asks for; None when it names none for compute."""
    for value in headers.getall(STANDARD, ()):
        for service in reversed(value.split(",")):
            words = service.split()
            if len(words) == 2 and words[0].lower() == "compute":
                return words[1]
    older = headers.get(OLDER)
    return older.strip() if older is not None else None


def parse(text: str | None) -> int:
    """The microversion to use. Raises ``Invalid`` for a text that is no version, ``NotAcceptable`` for one that we do not speak."""
    if text is None:
        return V.BASE
    if text.lower() == "latest":
        return LATEST
    match = FORM.fullmatch(text)
    if match is None:
        raise Invalid(f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, minor = int(match[1]), int(match[2])
    if major != 2 or not V.BASE <= minor <= LATEST:
        raise NotAcceptable(f"Version {text} is not supported by the API. Minimum is 2.1 and maximum is 2.{LATEST.value}.")
    return minor
