"""What flavors and images ask of a guest's hardware, by Nova's names: given as libvirt can, or refused by name.

The flavor's word counts where both say something. Sources: Nova's extra specs ``hw:``, ``hw_rng:``, ``hw_video:``, ``os:``, ``quota:``
and image properties ``hw_*``, ``os_*``; libvirt's domain format.
"""

from xml.etree.ElementTree import Element, SubElement

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec

YES = frozenset({"1", "on", "t", "true", "y", "yes"})  # Nova's words, in any case
WATCHDOG = ("pause", "poweroff", "reset", "none")
VIDEO = ("cirrus", "qxl", "vga", "vmvga", "virtio", "none", "bochs")
VIRTIO_SCSI = "virtio-scsi"
SCSI = (VIRTIO_SCSI, "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi")
SOUND = ("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb")
USB = ("none", "nec-xhci", "qemu-xhci")
INPUT = ("usb", "virtio")
TPM_MODELS, TPM_VERSIONS = ("tpm-tis", "tpm-crb"), ("1.2", "2.0")
MOST_SERIAL_PORTS = 4
CPU_TUNING = ("quota:cpu_shares", "quota:cpu_period", "quota:cpu_quota")
VIF_LIMITS = ("average", "peak", "burst")
REFUSED = {  # what no guest of this driver has; asked for by any word but those of ``NO``
    "hw:mem_encryption": "hw_mem_encryption",
    "hw:mem_encryption_model": "hw_mem_encryption_model",
    "hw:ephemeral_encryption": "hw_ephemeral_encryption",
    "hw:ephemeral_encryption_format": "hw_ephemeral_encryption_format",
    "hw:viommu_model": "hw_viommu_model",
    "hw:pmem": "",
    "accel:device_profile": "",
}
NO = frozenset({"", "0", "off", "f", "false", "n", "no"})
CPU_FEATURES = {  # of a trait that a flavor or an image requires; libvirt's names
    "HW_CPU_X86_AESNI": "aes",
    "HW_CPU_X86_AVX": "avx",
    "HW_CPU_X86_AVX2": "avx2",
    "HW_CPU_X86_AVX512F": "avx512f",
    "HW_CPU_X86_BMI": "bmi1",
    "HW_CPU_X86_BMI2": "bmi2",
    "HW_CPU_X86_F16C": "f16c",
    "HW_CPU_X86_FMA3": "fma",
    "HW_CPU_X86_SHA": "sha-ni",
    "HW_CPU_X86_SSE41": "sse4.1",
    "HW_CPU_X86_SSE42": "sse4.2",
    "HW_CPU_X86_SSSE3": "ssse3",
    "HW_CPU_X86_VMX": "vmx",
    "HW_CPU_X86_INTEL_VMX": "vmx",
    "HW_CPU_X86_AMD_SVM": "svm",
}


class Wishes:
    """Words of a guest's flavor and image, looked up by name."""

    def __init__(self, guest: GuestSpec) -> None:
        self.flavor = guest.extra_specs
        self.image = guest.image.properties if guest.image else {}

    def word(self, spec: str, image: str = "") -> str:
        """Empty where neither says anything."""
        return self.flavor.get(spec, "") or self.image.get(image, "")

    def yes(self, spec: str, image: str = "") -> bool:
        return self.word(spec, image).lower() in YES

    def one_of(self, known: tuple[str, ...], spec: str, image: str = "") -> str:
        """Raises ``Unsupported`` for a word that is none of ``known``."""
        word = self.word(spec, image)
        if word and word not in known:
            name = spec if self.flavor.get(spec) else image
            raise Unsupported(f"{name}={word[:60]} is not supported by the libvirt driver; choose one of {', '.join(known)}.")
        return word

    def number(self, spec: str, image: str = "") -> int:
        """0 where nothing is said."""
        word = self.word(spec, image)
        return int(word) if word.lstrip("-").isdigit() else 0


def check(guest: GuestSpec, *, tuning: bool, tpm: bool, spice: bool) -> None:
    """Raises ``Unsupported`` for what the guest cannot be given; some hosts lack ``tuning`` (of CPUs, by cgroups), ``tpm`` or ``spice``."""
    wishes = Wishes(guest)
    for spec, image in REFUSED.items():
        if wishes.word(spec, image).lower() not in NO:
            _refuse(wishes, spec, image)
    if wishes.yes("hw:vif_multiqueue_enabled", "hw_vif_multiqueue_enabled") and guest.vcpus > 1:
        _refuse(wishes, "hw:vif_multiqueue_enabled", "hw_vif_multiqueue_enabled")
    for spec in CPU_TUNING if not tuning else ():
        if wishes.word(spec):
            raise Unsupported(f"{spec} needs cgroups, which the libvirtd of this host does not use.")
    for name in ("hw_architecture", "hw_emulation_architecture"):
        if wishes.image.get(name, "x86_64") not in ("x86_64", "i686"):
            raise Unsupported(f"{name}={wishes.image[name][:40]} is not supported by the libvirt driver, which runs x86_64.")
    if wishes.image.get("hw_vm_mode", "hvm") != "hvm":
        raise Unsupported("hw_vm_mode: the libvirt driver runs hvm only.")
    wanted_tpm(wishes, tpm)
    if wishes.number("hw:redirected_usb_ports", "hw_redirected_usb_ports") and not spice:
        raise Unsupported("hw:redirected_usb_ports needs SPICE; see compute.consoles.")
    if secure_boot(wishes) and wishes.image.get("hw_firmware_type") != "uefi":
        raise Unsupported("os:secure_boot needs an image with hw_firmware_type=uefi.")
    if wishes.number("hw:serial_port_count", "hw_serial_port_count") > MOST_SERIAL_PORTS:
        raise Unsupported(f"hw:serial_port_count: a guest has {MOST_SERIAL_PORTS} serial ports at most.")
    most, wanted = wishes.number("hw_video:ram_max_mb"), wishes.number("", "hw_video_ram")
    if wanted and wanted > most:
        raise Unsupported(f"hw_video_ram={wanted} is more than the flavor's hw_video:ram_max_mb={most}.")
    for known, spec, image in (
        (VIDEO, "", "hw_video_model"),
        (SCSI, "", "hw_scsi_model"),
        (SOUND, "hw:sound_model", "hw_sound_model"),
        (USB, "hw:usb_model", "hw_usb_model"),
        (INPUT, "", "hw_input_bus"),
        (("virtio",), "", "hw_rng_model"),
        (("bios", "uefi"), "", "hw_firmware_type"),
        (("required", "optional", "disabled"), "os:secure_boot", "os_secure_boot"),
        ((*WATCHDOG, "disabled"), "hw:watchdog_action", "hw_watchdog_action"),
    ):
        wishes.one_of(known, spec, image)


def _refuse(wishes: Wishes, spec: str, image: str) -> None:
    raise Unsupported(f"{spec if wishes.flavor.get(spec) else image} is not supported by the libvirt driver.")


def secure_boot(wishes: Wishes) -> bool:
    return wishes.word("os:secure_boot", "os_secure_boot") == "required"


def keeps_variables(guest: GuestSpec) -> bool:
    """Whether the guest's firmware has variables of its own."""
    return guest.properties.get("hw_firmware_type") == "uefi" and not Wishes(guest).yes("", "hw_firmware_stateless")


def wanted_tpm(wishes: Wishes, there: bool) -> tuple[str, str] | None:
    """Model and version of the TPM. Raises ``Unsupported``."""
    version = wishes.one_of(TPM_VERSIONS, "hw:tpm_version", "hw_tpm_version")
    if not version:
        return None
    model = wishes.one_of(TPM_MODELS, "hw:tpm_model", "hw_tpm_model") or "tpm-tis"
    if model == "tpm-crb" and version == "1.2":
        raise Unsupported("hw:tpm_model=tpm-crb needs hw:tpm_version=2.0.")
    if wishes.word("hw:tpm_secret_security") == "user":
        raise Unsupported("hw:tpm_secret_security=user needs a key manager, which there is none of; use host or deployment.")
    if not there:
        raise Unsupported("hw:tpm_version needs swtpm, which is not installed on this host.")
    return model, version


# --- elements


def add_features(features: Element, wishes: Wishes) -> None:
    if pmu := wishes.word("hw:pmu", "hw_pmu"):
        SubElement(features, "pmu", state="on" if pmu.lower() in YES else "off")
    if wishes.yes("hw:hide_hypervisor_id", "img_hide_hypervisor_id") or wishes.yes("hide_hypervisor_id"):
        SubElement(SubElement(features, "kvm"), "hidden", state="on")
    if secure_boot(wishes):
        SubElement(features, "smm", state="on")


def add_boot(os: Element, wishes: Wishes) -> None:
    if wishes.yes("hw:boot_menu", "hw_boot_menu"):
        SubElement(os, "bootmenu", enable="yes")


def add_cpu(cpu: Element, wishes: Wishes, features: tuple[str, ...]) -> None:
    """Features of the host's configuration (``-name``: without it) and of required traits; how wide addresses are."""
    mode = wishes.word("hw:maxphysaddr_mode", "hw_maxphysaddr_mode")
    if mode:
        size = SubElement(cpu, "maxphysaddr", mode=mode)
        if bits := wishes.number("hw:maxphysaddr_bits", "hw_maxphysaddr_bits"):
            size.set("bits", str(bits))
    if cpu.get("mode") in ("host-passthrough", "maximum"):
        return  # has all that there is
    wanted = {name.removeprefix("+").removeprefix("-"): "disable" if name.startswith("-") else "require" for name in features}
    for source in (wishes.image, wishes.flavor):
        for name, word in source.items():
            feature = CPU_FEATURES.get(name.partition(":")[2]) if name.startswith("trait:") else None
            if feature and word == "required":
                wanted[feature] = "require"
    for name, policy in sorted(wanted.items()):
        SubElement(cpu, "feature", policy=policy, name=name)


def add_devices(devices: Element, wishes: Wishes, *, screens: bool, tpm: bool) -> None:
    if screens:
        _video(devices, wishes)
        _inputs(devices, wishes)
    if (model := wishes.word("hw:sound_model", "hw_sound_model")) in SOUND:
        SubElement(devices, "sound", model=model)
    action = wishes.word("hw:watchdog_action", "hw_watchdog_action")
    if action in WATCHDOG:
        SubElement(devices, "watchdog", model="i6300esb", action=action)
    if wanted := wanted_tpm(wishes, tpm):
        SubElement(SubElement(devices, "tpm", model=wanted[0]), "backend", type="emulator", version=wanted[1])
    for _ in range(wishes.number("hw:redirected_usb_ports", "hw_redirected_usb_ports")):
        SubElement(devices, "redirdev", bus="usb", type="spicevmc")
    for number in range(1, min(MOST_SERIAL_PORTS, wishes.number("hw:serial_port_count", "hw_serial_port_count"))):
        SubElement(SubElement(devices, "serial", type="pty"), "target", type="isa-serial", port=str(number))
    _random(devices, wishes)


def _video(devices: Element, wishes: Wishes) -> None:
    model = wishes.word("", "hw_video_model") or "virtio"
    video = SubElement(SubElement(devices, "video"), "model", type=model)
    if (size := wishes.number("", "hw_video_ram")) and model != "none":
        video.set("vram", str(size * 1024))


def _inputs(devices: Element, wishes: Wishes) -> None:
    bus = wishes.word("", "hw_input_bus") or ("usb" if wishes.image.get("hw_pointer_model") == "usbtablet" else "")
    if bus in INPUT:
        SubElement(devices, "input", type="tablet", bus=bus)
        SubElement(devices, "input", type="keyboard", bus=bus)


def _random(devices: Element, wishes: Wishes) -> None:
    """Every guest has one unless its flavor says no."""
    if wishes.word("hw_rng:allowed").lower() in NO - {""}:
        return
    rng = SubElement(devices, "rng", model="virtio")
    if size := wishes.number("hw_rng:rate_bytes"):
        rate = SubElement(rng, "rate", bytes=str(size))
        if period := wishes.number("hw_rng:rate_period"):
            rate.set("period", str(period))
    SubElement(rng, "backend", model="random").text = "/dev/urandom"


def add_bandwidth(interface: Element, wishes: Wishes) -> None:
    """KiB per second, and KiB for bursts, in Nova and in libvirt."""
    for way in ("inbound", "outbound"):
        limits = {what: wishes.word(f"quota:vif_{way}_{what}") for what in VIF_LIMITS if wishes.word(f"quota:vif_{way}_{what}")}
        if "average" in limits:
            bandwidth = interface.find("bandwidth")
            SubElement(SubElement(interface, "bandwidth") if bandwidth is None else bandwidth, way, limits)


def scsi_model(guest: GuestSpec) -> str:
    """Model of the controller that disks on the SCSI bus are on."""
    return Wishes(guest).word("", "hw_scsi_model") or VIRTIO_SCSI


def usb_controller(wishes: Wishes, used: bool) -> str:
    """Model of the USB controller, ``none`` where nothing needs it: it costs an idle guest processor time. ``used``: some disk is on it."""
    model = wishes.word("hw:usb_model", "hw_usb_model")
    if model in USB[1:]:
        return model
    by_input = wishes.word("", "hw_input_bus") == "usb" or wishes.image.get("hw_pointer_model") == "usbtablet"
    needed = used or by_input or wishes.word("hw:sound_model", "hw_sound_model") == "usb"
    needed = needed or wishes.number("hw:redirected_usb_ports", "hw_redirected_usb_ports") > 0
    return "qemu-xhci" if needed else "none"


def packed(wishes: Wishes) -> bool:
    """Whether virtio devices use packed rings."""
    return wishes.yes("hw:virtio_packed_ring", "hw_virtio_packed_ring")
