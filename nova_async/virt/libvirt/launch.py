"""Starts a private libvirtd: ``python -I -S launch.py FOLDER [NETWORK_NAMESPACE]``. Standard library only; needs root.

It leaves the caller's session and gives the daemon a mount namespace in which FOLDER/{etc,run,lib,log,cache} are
libvirt's folders, so that nothing of the system's own libvirt is touched. Then it stays as the parent of libvirtd,
virtlogd and every guest (a subreaper: libvirt's "destroy" waits until a dead guest is reaped) and ends with the last of them.
"""

import ctypes
import os
import socket
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
PR_SET_CHILD_SUBREAPER = 36
FOLDERS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}

libc = ctypes.CDLL(None, use_errno=True)


def main(folder: str, network: str | None) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    _quiet(os.path.join(folder, "log", "launch.log"))
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _enter(folder, network)
    if not _alive("/run/libvirt/virtlogd.pid"):
        os.spawnlp(os.P_WAIT, "virtlogd", "virtlogd", "-d", "-p", "/run/libvirt/virtlogd.pid")
    if os.fork() == 0:
        # Its cache of what QEMU can do is keyed by CPUID data that name the processor it runs on.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.execlp("libvirtd", "libvirtd", "-f", "/etc/libvirt/libvirtd.conf", "-p", "/run/libvirt/libvirtd.pid")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _quiet(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, 256)


def _enter(folder: str, network: str | None) -> None:
    if network:  # a host of its own, with a name of its own: guests do not migrate between hosts of one name
        with open(f"/run/netns/{network}") as namespace:
            _must(libc.setns(namespace.fileno(), CLONE_NEWNET))
        _must(libc.unshare(CLONE_NEWUTS))
        socket.sethostname(network)
    _must(libc.unshare(CLONE_NEWNS))
    _must(libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None))
    for name, path in FOLDERS.items():
        os.makedirs(path, exist_ok=True)
        _bind(os.path.join(folder, name), path)
    hosts = os.path.join(folder, "hosts")
    with open("/etc/hosts") as old, open(hosts, "w") as new:
        # libvirtd looks its own name up again and again; one that does not resolve costs seconds each time.
        new.write(old.read() + f"\n127.0.1.1 {socket.gethostname()}\n")
    _bind(hosts, "/etc/hosts")


def _bind(source: str, target: str) -> None:
    _must(libc.mount(source.encode(), target.encode(), None, MS_BIND, None))


def _must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _alive(pid_file: str) -> bool:
    try:
        with open(pid_file) as file:
            os.kill(int(file.read()), 0)
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
