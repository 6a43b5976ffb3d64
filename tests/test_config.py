"""Options: their sources, their order, and the file that shows them all."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async import resources
from nova_async.config import Config, Section, load
from nova_async.errors import Invalid

SHOWN = resources.config("nova-async.toml").read_text()
GPU = {"name": "gpu", "vendor_id": "10de", "product_id": "1eb8"}
OPTION = re.compile(r"^#([a-z0-9_]+ = .*)$", re.MULTILINE)


def options(section: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from options(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def named(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and prefix + name in Config.__struct_fields__:
            yield from named(value, f"{name}.")
        else:
            yield prefix + name


def test_the_shown_file_changes_nothing_as_it_is() -> None:
    tree = tomllib.loads(SHOWN)
    assert not any(tree.values())
    assert msgspec.convert(tree, Config) == Config()


def test_the_shown_file_has_every_option_with_its_default() -> None:
    tree = tomllib.loads(OPTION.sub(r"\1", SHOWN))
    assert sorted(named(tree)) == sorted(options())
    shown, true = msgspec.to_builtins(msgspec.convert(tree, Config)), msgspec.to_builtins(Config())
    assert shown == true


def test_every_shown_option_follows_a_sentence() -> None:
    lines = SHOWN.splitlines()
    bare = [line for before, line in pairwise(lines) if OPTION.match(line) and not re.match(r"^# .*\.$", before)]
    assert bare == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image__validate_certificates": True}, "no effect without image.verify_signatures"),
        ({"image__default_trusted_certificates": [str(number) for number in range(51)]}, "may be 50 at most"),
        ({"services__key_manager": "barbican"}, "image.key_manager_url must say where barbican is"),
    ],
)
def test_options_of_signed_images_must_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        load(None, {}, **options)


def test_a_file_is_read_and_the_rest_keeps_its_default(tmp_path: Path) -> None:
    file = tmp_path / "nova.toml"
    file.write_text('state_dir = "/srv/nova"\n[quota]\ninstances = -1\n[network]\ndns_servers = ["192.0.2.1"]\n')
    config = load(file, {})
    assert (config.state, config.quota.instances, config.quota.cores) == (Path("/srv/nova"), -1, 20)
    assert config.network.dns_servers == ("192.0.2.1",)


def test_the_environment_beats_the_file_and_arguments_beat_both(tmp_path: Path) -> None:
    file = tmp_path / "nova.toml"
    file.write_text('[api]\nlisten = "a:1"\nmax_limit = 1\nmax_body_bytes = 1\n')
    config = load(file, {"NOVA_ASYNC_API_MAX_LIMIT": "2", "NOVA_ASYNC_API_MAX_BODY_BYTES": "2"}, api__max_body_bytes=3, state_dir="/x")
    assert (config.api.listen, config.api.max_limit, config.api.max_body_bytes, config.state_dir) == ("a:1", 2, 3, "/x")


def test_the_environment_holds_every_kind_of_value() -> None:
    environment = {
        "NOVA_ASYNC_STATE_DIR": "/srv",
        "NOVA_ASYNC_COMPUTE_CPU_ALLOCATION_RATIO": "1.5",
        "NOVA_ASYNC_COMPUTE_ALLOW_RESIZE_TO_SAME_HOST": "true",
        "NOVA_ASYNC_SCHEDULER_FILTERS": '["ComputeFilter"]',
        "NOVA_ASYNC_SCHEDULER_MULTIPLIERS": '{"RAMWeigher": -1}',
        "NOVA_ASYNC_CONFIG": "/ignored/here.toml",
        "PATH": "/bin",
    }
    config = load(None, environment)
    assert (config.state_dir, config.compute.cpu_allocation_ratio, config.compute.allow_resize_to_same_host) == ("/srv", 1.5, True)
    assert (config.scheduler.filters, config.scheduler.multipliers) == (("ComputeFilter",), {"RAMWeigher": -1.0})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[apl]\nlisten = 'a'", "apl"),
        ("[api]\nlissten = 'a'", "lissten"),
        ("[api]\nmax_limit = 'many'", "max_limit"),
        ("[api", "nova.toml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, names: str, tmp_path: Path) -> None:
    file = tmp_path / "nova.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match=names):
        load(file, {})


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu:///session",
        "qemu+unix:///system?socket=/run/x",
        "test:///default",
        "xen:///system",
        "xen+unix:///system?socket=/run/x",
        "esx://root@esx.example.org/?no_verify=1",
    ],
)
def test_a_hypervisor_that_a_worker_knows_can_be_named(uri: str) -> None:
    assert load(environment={}, compute__libvirt_uri=uri).compute.libvirt_uri == uri


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("xen+ssh://host/", "use xen:///system"),
        ("esx:///", "use esx://user@host/"),
        ("esx+ssh://host/", "use esx://user@host/"),
        ("qemu+tls://other/system", "the hypervisor's own host"),
        ("qemu://other/system", "the hypervisor's own host"),
        ("vpx://root@host/dc/cluster/node", "none of libvirt's drivers"),
        ("lxc:///system", "none of libvirt's drivers"),
        ("", "none of libvirt's drivers"),
    ],
)
def test_a_hypervisor_that_cannot_be_driven_is_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(Invalid, match=r"compute\.libvirt_uri") as refused:
        load(environment={}, compute__libvirt_uri=uri)
    assert reason in refused.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"gone\.toml"):
        load(tmp_path / "gone.toml", {})


@pytest.mark.parametrize("name", ["NOVA_ASYNC_API_LISSTEN", "NOVA_ASYNC_APL_LISTEN", "NOVA_ASYNC_API"])
def test_an_unknown_variable_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match=r"configuration|environment"):
        load(None, {name: "a"})


def test_the_public_url_follows_the_address_unless_it_is_set() -> None:
    assert load(None, {}).public_url == "http://127.0.0.1:8774"
    assert load(None, {}, api__public_url="https://cloud.example/compute/").public_url == "https://cloud.example/compute"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compute__cpu_dedicated_set": "4-1"}, "compute.cpu_dedicated_set: '4-1' is no range of CPUs"),
        ({"compute__cpu_shared_set": "x"}, "compute.cpu_shared_set: 'x' is no CPU"),
        ({"compute__cpu_dedicated_set": "0-3", "compute__cpu_shared_set": "3-4"}, "both have the CPU 3"),
        ({"pci__alias": [GPU | {"numa_policy": "near"}]}, "'near' is not one of required, socket, legacy, preferred"),
        ({"pci__alias": [GPU | {"device_type": "card"}]}, "'card' is not one of type-PCI, type-PF, type-VF"),
        ({"pci__alias": [GPU, GPU | {"product_id": "2", "numa_policy": "required"}]}, "'gpu' stands there with different numa_policy"),
        ({"pci__alias": [GPU | {"traits": "FAST"}]}, "unknown field `traits`"),
        ({"fake__vcpus": 6, "fake__cells": 4}, "fake.vcpus must be a multiple of fake.cells"),
    ],
)
def test_cpus_and_devices_that_cannot_be_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=re.escape(words)):
        load(None, {}, **options)


def test_defaults_of_a_caller_yield_to_whoever_says_otherwise(tmp_path: Path) -> None:
    defaults = {"compute": {"allow_resize_to_same_host": True, "threads": 3}}
    path = tmp_path / "a.toml"
    path.write_text("[compute]\nthreads = 5\n")
    config = load(path, {"NOVA_ASYNC_COMPUTE_REPORT_SECONDS": "7"}, defaults, compute__driver="fake")
    told = config.compute
    assert (told.allow_resize_to_same_host, told.threads, told.report_seconds, told.driver) == (True, 5, 7.0, "fake")
    assert load(path, {"NOVA_ASYNC_COMPUTE_ALLOW_RESIZE_TO_SAME_HOST": "false"}, defaults).compute.allow_resize_to_same_host is False
