"""What a signature says of an image's bytes, and whose certificate is believed."""

import base64
import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nova_async.errors import Invalid
from nova_async.model.guests import Proof
from nova_async.services.image import signatures

from .signing import HASHES, Signer, family

DATA = b"an image" * 1000
NOW = datetime.now(UTC)


def digest(method: str, data: bytes = DATA) -> bytes:
    return hashlib.new(method.replace("-", "").lower(), data).digest()


@pytest.mark.parametrize("method", HASHES)
@pytest.mark.parametrize("key_type", signatures.KEY_TYPES)
def test_right_bytes_are_let_through_and_others_are_not(key_type: str, method: str) -> None:
    signer = Signer("any", key_type=key_type)
    claim = signatures.claim(signer.signed(DATA, method), signer.certificate, NOW)
    claim.check(digest(method))
    for wrong in (digest(method, DATA + b"\0"), digest(method, b"")):
        with pytest.raises(Invalid, match="not those that were signed"):
            claim.check(wrong)
    stranger = Signer("stranger", key_type=key_type)
    with pytest.raises(Invalid, match="not those that were signed"):
        signatures.claim(signer.signed(DATA, method), stranger.certificate, NOW).check(digest(method))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("img_signature", "", "img_signature is empty"),
        ("img_signature", "no!base64", "img_signature is not in base64"),
        ("img_signature", "ünicode", "img_signature is not in base64"),
        ("img_signature_hash_method", "MD5", "'MD5'; use one of SHA-224, SHA-256, SHA-384, SHA-512"),
        ("img_signature_hash_method", "sha-256", "'sha-256'; use one of"),
        ("img_signature_key_type", "RSA", "'RSA', which is not supported; use one of RSA-PSS, DSA, ECC_SECP384R1, ECC_SECP521R1"),
        ("img_signature_key_type", "ECC_SECT571K1", "'ECC_SECT571K1', which is not supported"),
        ("img_signature_key_type", "RSA-PSS", "is RSA-PSS, and the key of the image's certificate is of the type ECC_SECP384R1"),
        (
            "img_signature_key_type",
            "ECC_SECP521R1",
            "is ECC_SECP521R1, and the key of the image's certificate is of the type ECC_SECP384R1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str, words: str) -> None:
    signer = Signer("any")
    with pytest.raises(Invalid) as refused:
        signatures.claim(signer.signed(DATA, **{name: value}), signer.certificate, NOW)
    assert words in refused.value.message


def test_what_is_not_there_is_named() -> None:
    signer = Signer("any")
    properties = signer.signed(DATA)
    del properties["img_signature"], properties["img_signature_key_type"]
    with pytest.raises(Invalid, match="it lacks img_signature, img_signature_key_type"):
        signatures.claim(properties, signer.certificate, NOW)


def test_a_small_curve_is_refused() -> None:
    signer = Signer("small", key_type="ECC_SECP256R1")
    with pytest.raises(Invalid, match="ECC_SECP256R1"):
        signatures.claim(signer.signed(DATA), signer.certificate, NOW)


def test_a_signature_may_be_broken_into_lines() -> None:
    signer = Signer("any", key_type="RSA-PSS")
    properties = signer.signed(DATA)
    properties["img_signature"] = base64.encodebytes(base64.b64decode(properties["img_signature"])).decode()
    assert "\n" in properties["img_signature"].strip()
    signatures.claim(properties, signer.certificate, NOW).check(digest("SHA-256"))


@pytest.mark.parametrize("days", [(-10, -1), (1, 10)], ids=["expired", "not yet"])
def test_a_certificate_that_is_not_valid_now_signs_nothing(days: tuple[int, int]) -> None:
    signer = Signer("any", days=days)
    with pytest.raises(Invalid, match=r"is valid from .* only"):
        signatures.claim(signer.signed(DATA), signer.certificate, NOW)


@pytest.mark.parametrize("data", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_none(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"no X.509 certificate"):
        signatures.read(data)


# -- who vouches


def test_the_whole_way_up_to_the_root_must_be_trusted() -> None:
    root, middle, signer = (each.certificate for each in family())
    assert signatures.chain(signer, [root, middle], NOW) == [middle, root]
    assert signatures.chain(signer, [middle, signer, root], NOW) == [middle, root]
    for trusted in ([root], [middle], [signer], []):
        with pytest.raises(Invalid, match="None of the trusted certificates"):
            signatures.chain(signer, trusted, NOW)


def test_a_root_that_signs_by_itself_is_enough_if_it_is_an_authority() -> None:
    authority, ordinary = Signer("itself", authority=True).certificate, Signer("itself").certificate
    assert signatures.chain(authority, [authority], NOW) == [authority]
    with pytest.raises(Invalid, match="None of the trusted certificates"):
        signatures.chain(ordinary, [ordinary], NOW)


def test_a_namesake_of_the_root_vouches_for_nobody() -> None:
    _, middle, signer = family()
    namesake = Signer("root", authority=True, key_type="ECC_SECP521R1")
    with pytest.raises(Invalid, match="the issuer of 'CN=middle'"):
        signatures.chain(signer.certificate, [namesake.certificate, middle.certificate], NOW)


@pytest.mark.parametrize("late", ["root", "middle"])
def test_an_authority_that_expired_vouches_for_nobody(late: str) -> None:
    root, middle, signer = family(**{late: (-10, -1)})
    with pytest.raises(Invalid, match="None of the trusted certificates"):
        signatures.chain(signer.certificate, [root.certificate, middle.certificate], NOW)


def test_an_authority_may_allow_none_below_it() -> None:
    root, middle, signer = family(below=0)
    with pytest.raises(Invalid, match="'CN=root' allows 0 authorities below it, and the way has 1"):
        signatures.chain(signer.certificate, [root.certificate, middle.certificate], NOW)


def test_authorities_that_vouch_for_each_other_are_no_root() -> None:
    one, other = Signer("one", authority=True), Signer("other", authority=True)
    crossed = [Signer("one", other, authority=True).certificate, Signer("other", one, authority=True).certificate]
    with pytest.raises(Invalid, match="None of the trusted certificates"):
        signatures.chain(Signer("signer", one).certificate, crossed, NOW)


def test_a_proof_is_checked_again_where_the_bytes_are() -> None:
    root, middle, signer = family()
    way = (middle.pem.decode(), root.pem.decode())
    proof = Proof(properties=signer.signed(DATA), certificate=signer.pem.decode(), trusted=way)
    signatures.claim_of(proof, NOW).check(digest("SHA-256"))
    with pytest.raises(Invalid, match="None of the trusted certificates"):
        signatures.claim_of(Proof(properties=proof.properties, certificate=proof.certificate, trusted=way[:1]), NOW)


# -- as others sign

SIGN: dict[str, tuple[list[str], list[str]]] = {
    "RSA-PSS": (["rsa:2048"], ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max"]),
    "ECC_SECP384R1": (["ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"], []),
    "ECC_SECP521R1": (["ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"], []),
}


@pytest.mark.parametrize("key_type", SIGN)
def test_openssl_signs_as_we_expect(key_type: str, tmp_path: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    key, options = SIGN[key_type]
    (tmp_path / "image").write_bytes(DATA)
    openssl("req", "-x509", "-nodes", "-newkey", *key, "-subj", "/CN=signer", "-keyout", "key.pem", "-out", "certificate.pem")
    openssl("dgst", "-sha256", "-sign", "key.pem", *options, "-out", "signature", "image")
    properties = {
        "img_signature": base64.b64encode((tmp_path / "signature").read_bytes()).decode(),
        "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": key_type,
        "img_signature_certificate_uuid": "any",
    }
    certificate = signatures.read((tmp_path / "certificate.pem").read_bytes())
    signatures.claim(properties, certificate, datetime.now(UTC)).check(digest("SHA-256"))
