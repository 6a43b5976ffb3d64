"""What the image wants of the hypervisor."""

import re

from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Hypervisor, Mask, hypervisor_of
from nova_async.scheduler.request import Request

NAMES = ("hw_architecture", "img_hv_type", "hw_vm_mode", "img_hv_requested_version")
VERSION = re.compile(r"\d{1,6}(\.\d{1,6})*")
SAME = {"amd64": "x86_64", "x64": "x86_64", "xen": "xen", "kvm": "kvm", "qemu": "qemu", "pv": "xen", "hv": "hvm", "baremetal": "ironic"}


class ImagePropertiesFilter(Filter):
    """Architecture, hypervisor type, VM mode and hypervisor version of the image are among what the host supports.

    An image without an architecture has that of ``image_properties_default_architecture``, if there is one.
    """

    def applies(self, request: Request) -> bool:
        default = self.options.image_properties_default_architecture
        return bool(default) or any(name in request.image_properties for name in NAMES)

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.by_hypervisor(lambda hypervisor: self._verdict(hypervisor, request) is None)

    def reason(self, host: HostState, request: Request) -> str | None:
        return self._verdict(hypervisor_of(host), request)

    def _verdict(self, hypervisor: Hypervisor, request: Request) -> str | None:
        wanted = [_named(request, name) for name in ("hw_architecture", "img_hv_type", "hw_vm_mode")]
        wanted[0] = wanted[0] or self.options.image_properties_default_architecture or None
        if any(wanted) and not any(_suits(wanted, kind) for kind in hypervisor.supported):
            asked = "/".join(w or "any" for w in wanted)
            return f"the image needs {asked} (architecture/hypervisor/mode), which the host does not run"
        version = _named(request, "img_hv_requested_version")
        if version and not _version_in(hypervisor.version, version):
            return f"hypervisor version {hypervisor.version} is not {version}"
        return None


def _named(request: Request, name: str) -> str | None:
    found = request.image_properties.get(name)
    return None if found is None else SAME.get(str(found).lower(), str(found).lower())


def _suits(wanted: list[str | None], kind: tuple[str, ...]) -> bool:
    return all(w is None or w == SAME.get(k.lower(), k.lower()) for w, k in zip(wanted, kind, strict=False))


def _version_in(version: int, wanted: str) -> bool:
    """``wanted`` is a list such as ``>=6.0,<8``; nothing satisfies other texts. ``version``: major * 1000000 + minor * 1000 + release."""
    for part in wanted.replace(" ", "").split(","):
        sign = next((s for s in (">=", "<=", "!=", "==", ">", "<", "=") if part.startswith(s)), "==")
        if not VERSION.fullmatch(part.removeprefix(sign)):
            return False
        digits = [int(d) for d in part.removeprefix(sign).split(".")][:3]
        digits += [0] * (3 - len(digits))
        number = digits[0] * 1_000_000 + digits[1] * 1000 + digits[2]
        holds = {">=": version >= number, "<=": version <= number, "!=": version != number, ">": version > number, "<": version < number}
        if not holds.get(sign, version == number):
            return False
    return True
