"""Config drives, console logs and folders: what the host keeps for a guest."""

import asyncio
import io
import json
import os
import tracemalloc
from pathlib import Path

import pycdlib
import pytest

from nova_async import processes
from nova_async.errors import Error, Invalid, Unavailable
from nova_async.virt import config_drive
from nova_async.virt.libvirt import console_log
from nova_async.virt.libvirt.files import named, remove_tree


def test_a_config_drive_holds_the_files_under_their_names(tmp_path: Path) -> None:
    files = {
        "openstack/latest/meta_data.json": '{"name": "grün"}'.encode(),
        "openstack/content/0000": b"",
        "ec2/latest/user-data": b"\x1f\x8b#!/bin/sh\n" * 900,
    }
    config_drive.write(tmp_path / "drive", files)
    disc = pycdlib.PyCdlib()
    disc.open(str(tmp_path / "drive"))
    assert disc.pvd.volume_identifier.decode().strip() == config_drive.LABEL
    for way in ("joliet_path", "rr_path"):
        for name, content in files.items():
            found = io.BytesIO()
            disc.get_file_from_iso_fp(found, **{way: f"/{name}"})
            assert found.getvalue() == content
    disc.close()


def test_a_config_drive_is_replaced_whole_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        config_drive.write(tmp_path / "drive", {"file": content})
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]
    assert (tmp_path / "drive").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "drive").stat().st_size % 512 == 0


# SEC-001: files that users give their servers go to the config drive alone; no image of a guest is ever written to or mounted here.
@pytest.mark.parametrize("name", ["../secret", "a//b", "a/./b", "", "a\0b"])
def test_sec_001_impossible_paths_on_a_config_drive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        config_drive.write(tmp_path / "drive", {name: b"text"})


def test_the_console_shows_at_most_the_last_hundred_kibibytes(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("".join(f"line {number}\n" for number in range(50_000)))
    shown = console_log.tail(log, None)
    assert len(shown) == console_log.KEPT_BYTES
    assert shown.endswith("line 49999\n")
    assert console_log.tail(log, 2) == "line 49998\nline 49999\n"


def test_the_console_goes_on_over_a_turned_log(tmp_path: Path) -> None:
    (tmp_path / "console.log.0").write_text("old\n")
    (tmp_path / "console.log").write_text("new\n")
    assert console_log.tail(tmp_path / "console.log", None) == "old\nnew\n"


def test_the_console_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "console.log").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "console.log.0")
    assert console_log.tail(tmp_path / "console.log", None) == ""


def test_sec_052_a_console_of_a_hundred_megabytes_and_one_line_without_end_costs_little(tmp_path: Path) -> None:
    """SEC-052: random bytes, then 50 MB without a line break. virtlogd bounds the file itself (``daemon.VIRTLOGD_CONF``)."""
    log = tmp_path / "console.log"
    with log.open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(2**20))
        for _ in range(50):
            file.write(b"x" * 2**20)
    tracemalloc.start()
    shown = console_log.tail(log, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shown == "x" * console_log.KEPT_BYTES
    assert peak < 2**20
    with log.open("ab") as file:
        file.write(os.urandom(2**20))
    shown = console_log.tail(log, None)
    assert len(json.dumps(shown)) <= 6 * console_log.KEPT_BYTES < 2**20  # the longest way to write a character


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_bytes(b"\xff\xfe\x00boot\n")
    assert console_log.tail(tmp_path / "console.log", None) == "��\0boot\n"


@pytest.mark.parametrize("name", ["..", "", "a/b", "11111111-2222-4333-8444-55555555555", "11111111-2222-4333-8444-555555555555/.."])
def test_only_ids_of_servers_name_folders(tmp_path: Path, name: str) -> None:
    """SEC-075: whatever a host is told to do to a server is done in that server's folder."""
    with pytest.raises(Invalid):
        named(tmp_path, name)


def test_removing_a_folder_follows_no_link_and_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "kept")
    for _ in range(2):
        remove_tree(folder)
    assert (tmp_path / "kept" / "file").exists()
    assert not folder.exists()


async def test_a_tool_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Unavailable, match="longer than"):
        await processes.run("sleep", "30", deadline=0.2)


async def test_sec_008_a_tool_that_a_crafted_image_leads_astray_ends_at_its_limits() -> None:
    """SEC-008: memory, processor time, time and output of whatever looks at an image are bounded."""
    led_astray = {
        "memory": ("dd", "if=/dev/zero", "of=/dev/null", "bs=3G", "count=1"),
        "processor time": ("sh", "-c", "while :; do :; done"),
        "time": ("sleep", "60"),
        "output": ("cat", "/dev/zero"),
        "complaints": ("sh", "-c", "cat /dev/zero >&2"),
    }
    for what, command in led_astray.items():
        async with asyncio.timeout(20):
            with pytest.raises((Error, Unavailable)):
                await processes.run(*command, deadline=0.5 if what == "time" else 15, cpu_seconds=1)


async def test_a_tool_that_eats_memory_or_fails_is_an_error_with_its_complaint_for_operators() -> None:
    with pytest.raises(Error) as caught:
        await processes.run("sh", "-c", "echo why >&2; exit 3", deadline=10)
    assert (caught.value.message, caught.value.detail) == ("sh failed.", "why")
    with pytest.raises(Error):
        await processes.run("dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1", deadline=10, memory_bytes=100 * 2**20)
