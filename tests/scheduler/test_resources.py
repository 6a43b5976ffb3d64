"""What a flavor and an image ask of a host."""

import pytest

from nova_async.scheduler.resources import resources_of, traits_of

FLAVOR = {"vcpus": 2, "memory_mb": 512, "root_gb": 1, "ephemeral_gb": 2, "swap": 1025}
PLAIN = {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 5}


@pytest.mark.parametrize(
    ("specs", "image", "amounts"),
    [
        ({}, {}, PLAIN),
        ({"resources:VCPU": "0", "resources:DISK_GB": "0"}, {}, {"MEMORY_MB": 512}),
        ({"resources:CUSTOM_GOLD": "3"}, {}, PLAIN | {"CUSTOM_GOLD": 3}),
        ({"resources1:VGPU": "1", "resources_other:VGPU": "2"}, {}, PLAIN | {"VGPU": 3}),
        ({"resources1:VCPU": "3"}, {}, PLAIN | {"VCPU": 3}),
        ({"resources:PCPU": "2"}, {}, {"PCPU": 2, "MEMORY_MB": 512, "DISK_GB": 5}),
        ({"hw:mem_encryption": "true"}, {}, PLAIN | {"MEM_ENCRYPTION_CONTEXT": 1}),
        ({}, {"hw_mem_encryption": "True"}, PLAIN | {"MEM_ENCRYPTION_CONTEXT": 1}),
        ({"hw:pmem": "fast,fast,big-1"}, {}, PLAIN | {"CUSTOM_PMEM_NAMESPACE_FAST": 2, "CUSTOM_PMEM_NAMESPACE_BIG_1": 1}),
        ({"resources:VCPU": "many", "resources": "1"}, {}, PLAIN),
    ],
)
def test_amounts(specs, image, amounts) -> None:
    assert resources_of(FLAVOR | {"extra_specs": specs}, image) == amounts


def test_traits_of_all_groups_are_the_hosts() -> None:
    specs = {"trait:A": "required", "trait1:B": "required", "trait_x:C": "required", "trait:D": "forbidden", "xtrait:E": "required"}
    assert traits_of(specs, "required") == {"A", "B", "C"}
    assert traits_of(specs, "forbidden") == {"D"}
