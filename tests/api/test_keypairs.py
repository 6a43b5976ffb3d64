"""Key pairs, from outside."""

import asyncio
import json
import subprocess
from base64 import b64decode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from nova_async import keys
from nova_async.certs.authority import load_or_make
from nova_async.certs.x509 import PARTY, sign_user
from nova_async.db import instances
from nova_async.metadata.documents import config_drive_files, ec2, openstack
from nova_async.metadata.instances import metadata_of
from nova_async.world import RealWorld
from tests.api.conftest import PROJECT
from tests.api.samples import samples, shape

KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDx8nkQv/zgGgB4rMYmIf+6A4l6Rr+o/6lHBQdW5aYd44bd8JttDCE/F/pNRr0lRE+PiqSPO8nDPHw0010JeMH9gYgnn"
    "FlyY3/OcJ02RhIPyyxYpv9FhY+2YiUkpwFOcLImyrxEsYXpD/0d3ac30bNH6Sw9JD9UZHYcpSxsIbECHw== Generated-by-Nova"
)
FINGERPRINT = "1e:2c:9b:56:79:4b:45:77:f9:ca:7a:98:2c:b0:d5:3c"


def ran(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True)


async def imported(api, name="mine", caller="member", version="2.92", **fields):
    return await api.post("/os-keypairs", {"keypair": {"name": name, "public_key": KEY} | fields}, caller, version)


async def test_an_imported_key_lives_until_it_is_deleted(api) -> None:
    made = await imported(api)
    assert made.status == 201, made
    assert made.body["keypair"] == {
        "name": "mine",
        "type": "ssh",
        "public_key": KEY,
        "fingerprint": FINGERPRINT,
        "user_id": "member-user",
    }
    assert [k["keypair"]["name"] for k in (await api.get("/os-keypairs")).body["keypairs"]] == ["mine"]
    shown = (await api.get("/os-keypairs/mine")).body["keypair"]
    assert (shown["fingerprint"], shown["deleted"], shown["deleted_at"]) == (FINGERPRINT, False, None)
    again = await imported(api)
    assert (again.status, again.message) == (409, "Key pair 'mine' already exists.")
    gone = await api.delete("/os-keypairs/mine", version="2.2")
    assert (gone.status, gone.raw) == (204, b"")
    missing = await api.get("/os-keypairs/mine")
    assert (missing.status, missing.message) == (404, "Keypair mine not found for user member-user")
    assert (await api.delete("/os-keypairs/mine")).status == 404


async def test_a_key_pair_that_the_service_makes_is_a_pair(api) -> None:
    made = (await api.post("/os-keypairs", {"keypair": {"name": "made"}}, version="2.91")).body["keypair"]
    private = serialization.load_pem_private_key(made["private_key"].encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    assert made["public_key"] == f"{public} Generated-by-Nova"
    assert "private_key" not in (await api.get("/os-keypairs/made")).body["keypair"]


async def test_a_certificate_that_the_service_makes_fits_its_key(api) -> None:
    made = (await api.post("/os-keypairs", {"keypair": {"name": "made", "type": "x509"}}, version="2.2")).body["keypair"]
    key, certificate, _ = pkcs12.load_key_and_certificates(b64decode(made["private_key"]), None)
    public = x509.load_pem_x509_certificate(made["public_key"].encode())
    assert certificate == public
    assert key.public_key() == public.public_key()
    name = public.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.OtherName)
    assert b"member-user@localhost" in name[0].value
    again = await api.post("/os-keypairs", {"keypair": {"name": "b", "type": "x509", "public_key": made["public_key"]}}, version="2.2")
    assert again.body["keypair"]["fingerprint"] == made["fingerprint"]
    assert len(made["fingerprint"]) == 59


async def test_users_have_their_own_and_administrators_see_those_of_others(api) -> None:
    await imported(api)
    assert (await api.get("/os-keypairs", "colleague")).body["keypairs"] == []
    assert (await api.get("/os-keypairs/mine?user_id=member-user", "colleague", "2.10")).status == 403
    assert (await api.get("/os-keypairs?user_id=member-user", "nobody", "2.10")).status == 403
    assert (await api.get("/os-keypairs/mine?user_id=member-user", "admin", "2.10")).status == 200
    assert (await api.get("/os-keypairs/mine?user_id=member-user", "admin", "2.9")).status == 404
    made = await imported(api, "theirs", "admin", user_id="member-user")
    assert made.body["keypair"]["user_id"] == "member-user"
    assert (await imported(api, "theirs", "colleague", user_id="member-user")).status == 403
    assert (await api.delete("/os-keypairs/theirs?user_id=member-user", "admin", "2.92")).status == 204


async def test_lists_are_paged_by_name_since_2_35(api) -> None:
    for name in ("c", "a", "b"):
        await imported(api, name)
    first = (await api.get("/os-keypairs?limit=2", version="2.35")).body
    assert [k["keypair"]["name"] for k in first["keypairs"]] == ["a", "b"]
    assert first["keypairs_links"][0]["href"].endswith("/compute/v2.1/os-keypairs?limit=2&marker=b")
    second = (await api.get("/os-keypairs?limit=2&marker=b", version="2.35")).body
    assert [k["keypair"]["name"] for k in second["keypairs"]] == ["c"]
    assert "keypairs_links" not in second
    assert (await api.get("/os-keypairs?limit=0", version="2.35")).body == {"keypairs": []}
    assert (await api.get("/os-keypairs?marker=z", version="2.35")).message == "marker [z] not found"
    assert len((await api.get("/os-keypairs?limit=1&marker=z", version="2.34")).body["keypairs"]) == 3
    assert (await api.get("/os-keypairs?x=1", version="2.75")).status == 400


async def test_a_user_has_no_more_than_the_quota_even_when_asking_at_once(api) -> None:
    """SEC-060"""
    await api.put(f"/os-quota-sets/{PROJECT}", {"quota_set": {"key_pairs": 2}}, "admin")
    answers = await asyncio.gather(*(imported(api, f"k{i}") for i in range(6)))
    assert sorted(a.status for a in answers) == [201, 201, 403, 403, 403, 403]
    refused = await imported(api, "more")
    assert refused.body == {"forbidden": {"code": 403, "message": "Quota exceeded, too many key pairs."}}
    made = await api.post("/os-keypairs", {"keypair": {"name": "made"}}, version="2.91")
    assert made.status == 403


async def test_wrong_key_pairs_are_refused(api) -> None:
    for keypair, version, status in (
        ({"name": "a.b@c", "public_key": KEY}, "2.91", 400),
        ({"name": "a.b@c d", "public_key": KEY}, "2.92", 201),
        ({"name": "no key"}, "2.92", 400),
        ({"name": " padded", "public_key": KEY}, "2.92", 400),
        ({"name": "", "public_key": KEY}, "2.92", 400),
        ({"name": "x" * 256, "public_key": KEY}, "2.92", 400),
        ({"name": "x/y", "public_key": KEY}, "2.92", 400),
        ({"name": "a", "public_key": KEY, "type": "ssh"}, "2.1", 400),
        ({"name": "a", "public_key": KEY, "type": "gpg"}, "2.2", 400),
        ({"name": "a", "public_key": KEY, "user_id": "x"}, "2.9", 400),
        ({"name": "a", "public_key": "ssh-rsa AAAA"}, "2.2", 400),
        ({"name": "a", "public_key": "ssh-rsa"}, "2.2", 400),
        ({"name": "a", "public_key": ""}, "2.2", 400),
        ({"name": "a", "public_key": "ssh-rsa \u00e9\u20ac \U0001f511"}, "2.2", 400),
        ({"name": "a", "public_key": "ssh-rsa " + "A" * 100_000}, "2.2", 400),
        ({"name": "a", "public_key": KEY, "type": "x509"}, "2.2", 400),
        ({"name": "a", "public_key": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "type": "x509"}, "2.2", 400),
        ({"name": "a", "public_key": 5}, "2.2", 400),
        ({"name": "a", "public_key": None}, "2.2", 400),
        ({"name": "a", "public_key": KEY, "created_at": "x"}, "2.2", 400),
    ):
        answer = await api.post("/os-keypairs", {"keypair": keypair}, version=version)
        assert answer.status == status, answer


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\r\n\r\n"], ids=ascii)
async def test_a_key_is_one_line(api, end) -> None:
    """SEC-056: a second line would be a key of its own, with options, for whoever logs in."""
    for name, text in (("second", f'{KEY}{end}command="id" {KEY}'), ("first", f"# none{end}{KEY}"), ("lone", f"{KEY}{end}no-pty")):
        refused = await imported(api, name, public_key=text)
        assert (refused.status, "single line" in refused.message) == (400, True), refused
    assert (await imported(api, "ended", public_key=KEY + end)).status == 201  # as files are


@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "\n"), ("", "\r\n\r\n"), ("\n \n", ""), ("  ", "\x0b\n\n"), ("", "\u2028")])
async def test_a_key_is_one_line_in_the_guest(api, before, after) -> None:
    """SEC-056: over the metadata service and on the config drive."""
    given = await imported(api, public_key=before + KEY + after, version="2.91")
    assert given.status in (201, 400), given
    if given.status == 400:
        return
    async with api.database.connection() as conn:
        (row,) = (await instances.by_ids(conn, [await api.server(key_name="mine")])).values()
    told = metadata_of(row, (), "", api.parts.config)
    drive = config_drive_files(told)
    texts = [ec2(told, "/latest/meta-data/public-keys/0/openssh-key").decode()]
    for document in (openstack(told, "/openstack/latest/meta_data.json"), drive["openstack/latest/meta_data.json"]):
        read = json.loads(document)
        texts += [read["public_keys"]["mine"], *(key["data"] for key in read["keys"])]
    texts.append(json.loads(drive["ec2/latest/meta-data.json"])["public-keys"]["0"]["openssh-key"])
    assert [text.splitlines() for text in texts] == [[KEY]] * 6


async def test_what_is_no_public_key_is_refused(api) -> None:
    """SEC-056"""
    private = (await api.post("/os-keypairs", {"keypair": {"name": "made"}}, version="2.91")).body["keypair"]["private_key"]
    kind, data, _ = KEY.split(" ")
    for text in (
        private,
        private.replace("\n", " "),
        f'command="id" {KEY}',
        f"no-pty,{KEY}",
        f"@cert-authority {KEY}",
        f"ssh-nonsense {data}",
        f"ssh-ed25519 {data}",
        f"{kind}\u00a0{data}",
        f"{kind} {data[:-8]}",
        f"{kind} {data} {'c' * 65_536}",
        f"-----BEGIN CERTIFICATE-----\n{data}\n-----END CERTIFICATE-----",
    ):
        refused = await imported(api, "x", public_key=text)
        assert (refused.status, refused.message.startswith("Keypair data is invalid")) == (400, True), (text, refused)


async def test_strange_names_are_not_found(api) -> None:
    for name in (
        "%00",
        "%FF",
        "a" * 5000,
        "%2F",
        "%F0%9F%94%91",
    ):
        assert (await api.get(f"/os-keypairs/{name}")).status == 404


@pytest.mark.parametrize(("version", "sample"), samples("keypairs-get-resp", "os-keypairs"))
async def test_a_key_pair_has_the_keys_of_the_sample(api, version, sample) -> None:
    await imported(api)
    assert shape((await api.get("/os-keypairs/mine", version=version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("keypairs-list-resp", "os-keypairs"))
async def test_a_list_has_the_keys_of_the_sample(api, version, sample) -> None:
    await imported(api)
    limit = "?limit=1" if "keypairs_links" in sample else ""
    assert shape((await api.get(f"/os-keypairs{limit}", version=version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("keypairs-import-post-resp", "os-keypairs"))
async def test_an_import_has_the_keys_of_the_sample(api, version, sample) -> None:
    answer = await imported(api, version=version)
    assert answer.status == (200 if version == "2.1" else 201)
    assert shape(answer.body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("keypairs-post-resp", "os-keypairs"))
async def test_a_made_pair_has_the_keys_of_the_sample(api, version, sample) -> None:
    answer = await api.post("/os-keypairs", {"keypair": {"name": "a"}}, version=version)
    assert shape(answer.body) == shape(sample)


@pytest.mark.parametrize(("kind", "bits"), [("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "521"), ("ed25519", "")])
async def test_keys_of_every_usual_kind_have_the_fingerprint_that_ssh_keygen_tells(api, tmp_path, kind, bits) -> None:
    path = tmp_path / "key"
    ran("ssh-keygen", "-q", "-t", kind, *(["-b", bits] if bits else []), "-N", "", "-C", "me@host", "-f", str(path))
    told = ran("ssh-keygen", "-l", "-E", "md5", "-f", f"{path}.pub").stdout
    made = (await imported(api, public_key=path.with_suffix(".pub").read_text().strip())).body["keypair"]
    assert f"MD5:{made['fingerprint']} " in told


async def test_a_made_certificate_is_signed_by_the_authority_of_the_cloud(api, tmp_path) -> None:
    """And is nobody's in the cloud: no party has such a name."""
    root, issuing, _, users = load_or_make(tmp_path / "authority", RealWorld())
    made = await keys.make(
        "x509", "compute.host1", RealWorld().now(), lambda *of: [sign_user(users, *of), users.certificate, root.certificate]
    )
    key, leaf, above = pkcs12.load_key_and_certificates(b64decode(made.private_key), None)
    assert key.public_key() == leaf.public_key()
    for name, certificate in (("leaf", leaf), ("users", above[0]), ("root", root.certificate), ("issuing", issuing.certificate)):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", f"{tmp_path}/root.pem", "-untrusted"]
    assert ran(*verify, f"{tmp_path}/users.pem", f"{tmp_path}/leaf.pem").returncode == 0
    assert ran(*verify, f"{tmp_path}/issuing.pem", f"{tmp_path}/leaf.pem").returncode != 0
    common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert common == "user:compute.host1"
    assert not PARTY.fullmatch(common)
    assert made.fingerprint == await keys.fingerprint("x509", made.public_key)
