"""What the code as a whole never does, read from its syntax."""

import ast
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import ParseError

import pytest

from nova_async.bus.messages import KINDS
from nova_async.bus.messages.compute import Command
from nova_async.compute.operations import OPERATIONS
from nova_async.config import Config
from nova_async.virt.libvirt.parsed import parsed

PACKAGE = Path(__file__).parent.parent / "nova_async"
SECRETS = ("token", "secret", "password", "passphrase", "signature", "digest", "hash", "fingerprint", "ticket")
NO_SECRETS = {  # what is compared by ``==`` all the same, and why nobody learns from how long that takes
    "new.password_hash": "both are ours: did the password change?",
    "user.password_hash": "likewise",
    "self._token": "our own, against our own",
    "(await get(reader, Digest)).sha256": "of bytes that the sender holds itself",
    "image.sha512": "everybody who sees the image sees it",
    "self._digest": "of the list of revocations, ours both",
}


@cache
def syntax() -> list[tuple[str, ast.AST]]:
    """Each node of each module, with the module's path below the package."""
    return [
        (str(path.relative_to(PACKAGE)), node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
    ]


def called(node: ast.AST) -> str:
    """The name of what is called, with the names before it; empty for what is no call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_no_command_passes_through_a_shell_and_no_text_through_templates() -> None:
    """SEC-055: what users write stays one argument."""
    shells, templates = ("create_subprocess_shell", "os.system", "os.popen", "getoutput"), ("jinja2", "mako", "string", "chevron")
    for path, node in syntax():
        assert not called(node).endswith(shells), path
        if isinstance(node, ast.Call):
            assert "shell" not in {word.arg for word in node.keywords}, path
        if isinstance(node, ast.List | ast.Tuple):
            words = [e.value for e in node.elts if isinstance(e, ast.Constant)]
            assert not {"sh", "bash", "/bin/sh", "/bin/bash"}.intersection(w for w in words[:1] if isinstance(w, str)), (path, words)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.partition(".")[0] in templates for name in names), (path, names)


STARTS = ("create_subprocess_exec", "create_subprocess_shell", "subprocess.run", "Popen", "check_output", "check_call", "spawnlp", "execlp")
STARTERS = {  # whoever starts programs, and which: nothing else is run, by no name that comes from elsewhere, and nothing by sudo
    "bus/rabbitmq.py": "a broker of our own, for tests and trials",
    "cli/first_guest.py": "what makes the first image",
    "compute/plugging/dhcp.py": "dnsmasq, in a network namespace by nsenter",
    "compute/plugging/firewall.py": "nft, in a network namespace by nsenter",
    "compute/plugging/namespaces.py": "ip",
    "db/embedded.py": "a PostgreSQL of our own",
    "processes.py": "qemu-img and the like, within limits",
    "storage_daemons.py": "qemu-storage-daemon and tgtd",
    "virt/libvirt/daemon.py": "a libvirtd of our own, by launch.py",
    "virt/libvirt/launch.py": "libvirtd and virtlogd",
    "virt/libvirt/probe.py": "QEMU, to see whether KVM works",
    "virt/testguest/__init__.py": "what makes the test guest",
}


def test_programs_are_started_in_few_places_and_none_by_sudo() -> None:
    """SEC-075: there are no rules for a helper with more rights to be too broad."""
    assert {path for path, node in syntax() if called(node).endswith(STARTS)} == STARTERS.keys()
    for path, node in syntax():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not path.startswith("virt/testguest/"):
            assert not {"sudo", "nova-rootwrap", "privsep-helper", "pkexec", "doas"}.intersection(node.value.split()), path


def test_a_worker_is_told_what_is_in_its_table_and_nothing_else() -> None:
    """SEC-075"""
    assert set(OPERATIONS) == {kind for kind in KINDS.values() if issubclass(kind, Command) and kind is not Command}


def test_whoever_asks_another_service_follows_no_redirect() -> None:
    """SEC-079: a token goes to the address that the configuration names. None of the answers that are wanted leads elsewhere."""
    asked = 0
    for path, node in syntax():
        scope, _, verb = called(node).rpartition(".")
        if isinstance(node, ast.Call) and scope.endswith("session") and verb in ("request", "get", "post", "put", "patch", "delete"):
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert said.get("allow_redirects") == "False", (path, node.lineno)
            asked += 1
    assert asked > 5


def test_libvirt_is_given_descriptions_in_one_place() -> None:
    """SEC-073: and each of them is made of elements (``xml``), never of a user's text."""
    takers = ("defineXML", "createXML", "defineXMLFlags", "attachDevice", "attachDeviceFlags", "updateDeviceFlags", "secretDefineXML")
    found = {path for path, node in syntax() if called(node).endswith(takers)}
    assert found == {"virt/libvirt/domains.py", "virt/libvirt/secrets.py"}


def test_our_own_libvirtd_listens_to_nobody_but_its_owner() -> None:
    """SEC-073: on no network, and at no socket, the one for reading included, for other users of the host."""
    pytest.importorskip("libvirt")
    from nova_async.virt.libvirt.daemon import LIBVIRTD_CONF

    told = dict(line.split(" = ") for line in LIBVIRTD_CONF.splitlines())
    assert (told["listen_tcp"], told["listen_tls"]) == ("0", "0")
    assert (told["unix_sock_rw_perms"], told["unix_sock_ro_perms"], told["unix_sock_group"]) == ('"0700"', '"0700"', '"root"')
    assert Config().compute.libvirt_uri == "qemu:///system"


def test_exceptions_are_logged_in_their_words_alone() -> None:
    """SEC-066: ``repr`` shows what they hold as well, such as a request's headers; ``errors.plain`` does not."""
    for path, node in syntax():
        if isinstance(node, ast.ExceptHandler) and node.name:
            for inner in ast.walk(node):
                shown = isinstance(inner, ast.FormattedValue) and inner.conversion == ord("r") and ast.unparse(inner.value) == node.name
                asked = called(inner) == "repr" and [ast.unparse(arg) for arg in inner.args] == [node.name]
                assert not shown, (path, node.lineno)
                assert not asked, (path, node.lineno)


def test_secrets_are_compared_in_constant_time() -> None:
    """SEC-054"""
    for path, node in syntax():
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [ast.unparse(side) for side in (node.left, *node.comparators) if isinstance(side, ast.Name | ast.Attribute)]
            if len(sides) == 2 and any(side.rpartition(".")[2].endswith(SECRETS) for side in sides):
                assert NO_SECRETS.keys() & set(sides), (path, ast.unparse(node))


def test_no_service_hands_out_folders_or_reads_forms_or_cookies() -> None:
    """SEC-071"""
    for path, node in syntax():
        assert not called(node).endswith((".add_static", ".static", "request.post", "request.multipart", "http.post")), path
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in ("request.cookies", "http.cookies")), path


def test_documents_of_libvirt_are_read_in_one_place() -> None:
    """SEC-058"""
    readers = {"fromstring", "fromstringlist", "parse", "iterparse", "XML", "XMLID", "XMLParser", "XMLPullParser"}
    for path, node in syntax():
        scope, _, name = called(node).rpartition(".")
        assert not (name in readers and scope in ("Tree", "ElementTree") and path != "virt/libvirt/parsed.py"), (path, name)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xml"):
            assert not readers & {alias.name for alias in node.names}, path


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY a "' + "x" * 1000 + '">]><a>' + "&a;" * 1000 + "</a>",
        '<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a>&a;</a>',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><a/>',
        "<a>&undefined;</a>",
    ],
)
def test_entities_are_not_read(text: str) -> None:
    """SEC-058"""
    with pytest.raises(ParseError):
        parsed(text)
