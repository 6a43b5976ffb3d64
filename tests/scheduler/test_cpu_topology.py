"""Sockets, cores and threads that a guest sees."""

import pytest

from nova_async.model.cpu_topology import chosen
from nova_async.model.image_properties import renamed


@pytest.mark.parametrize(
    ("vcpus", "specs", "image", "shape"),
    [
        (4, {}, {}, (4, 1, 1)),
        (4, {"hw:cpu_cores": "2"}, {}, (2, 2, 1)),
        (4, {"hw:cpu_cores": "2", "hw:cpu_threads": "2"}, {}, (1, 2, 2)),
        (4, {"hw:cpu_sockets": "2"}, {}, (2, 2, 1)),
        (4, {"hw:cpu_sockets": "1"}, {}, (1, 4, 1)),
        (4, {"hw:cpu_cores": "3"}, {}, (4, 1, 1)),
        (4, {"hw:cpu_cores": "2"}, {"hw_cpu_cores": "4"}, (1, 4, 1)),
        (4, {"hw:cpu_max_sockets": "1"}, {}, (1, 4, 1)),
        (8, {"hw:cpu_max_sockets": "2", "hw:cpu_max_cores": "2"}, {}, (2, 2, 2)),
        (4, {"hw:cpu_max_cores": "4"}, {"hw_cpu_max_sockets": "2"}, (2, 2, 1)),
        (4, {"hw:cpu_cores": "4", "hw:cpu_max_cores": "2"}, {}, (4, 1, 1)),
        (1, {"hw:cpu_threads": "2"}, {}, (1, 1, 1)),
        (6, {"hw:cpu_threads": "many"}, {}, (6, 1, 1)),
    ],
)
def test_shapes(vcpus, specs, image, shape) -> None:
    assert chosen(vcpus, specs, image) == shape


def test_threads_of_the_host_are_shown_where_nobody_says_anything() -> None:
    assert chosen(4, {}, {}, threads=2) == (2, 1, 2)
    assert chosen(4, {"hw:cpu_sockets": "4"}, {}, threads=2) == (4, 1, 1)


@pytest.mark.parametrize(
    ("specs", "image", "words"),
    [
        (
            {"hw:cpu_max_cores": "1"},
            {"hw_cpu_max_cores": "2"},
            r"limits \(sockets=0, cores=2, threads=0\) exceeds the limits of the flavor",
        ),
        ({"hw:cpu_max_cores": "1"}, {"hw_cpu_cores": "2"}, "exceeds the limits of the flavor or image"),
        ({"hw:cpu_max_sockets": "1", "hw:cpu_max_cores": "1", "hw:cpu_max_threads": "1"}, {}, "1:1:1 are impossible to satisfy"),
    ],
)
def test_bounds_that_cannot_be_kept(specs, image, words) -> None:
    with pytest.raises(ValueError, match=words):
        chosen(4, specs, image)


@pytest.mark.parametrize("vcpus", [65_537, 2_095_133_040, 2**31 - 1])
def test_more_cpus_than_any_host_has_are_refused_without_a_search(vcpus: int) -> None:
    """The second has 1,536 divisors; the event loop stood still for most of a minute."""
    with pytest.raises(ValueError, match=f"65536:65536:65536 are impossible to satisfy for vcpus count {vcpus}"):
        chosen(vcpus, {}, {})


def test_old_names_of_image_properties_count_unless_the_present_one_is_there() -> None:
    assert renamed({"vm_mode": "xen", "hypervisor_type": "qemu", "img_hv_type": "kvm"}) == {
        "vm_mode": "xen", "hw_vm_mode": "xen", "hypervisor_type": "qemu", "img_hv_type": "kvm",
    }  # fmt: skip
