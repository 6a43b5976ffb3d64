"""SEC-059: a word in other letters, with blanks or letters that look alike is refused or means what it should; it is not kept as it is."""

from collections.abc import Iterator
from typing import Any

import pytest

from nova_async.api.routes import ROUTES
from nova_async.api.schema import Literal, Schema, at
from nova_async.api.versions import LATEST
from nova_async.errors import Invalid
from tests.api.conftest import IMAGE, Api, image

ALIKE = str.maketrans(
    "aeiopcxyAEOPCXBHKMT",
    "\u0430\u0435\u0456\u043e\u0440\u0441\u0445\u0443\u0410\u0415\u041e\u0420\u0421\u0425\u0412\u041d\u041a\u041c\u0422",
)
OTHER = "1B8F0A2E-5C1F-4D6C-9D0A-5F3F0F8B7A11"


def variants(word: str) -> set[str]:
    """How else one might write it; without what is the same."""
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in word)
    made = {word.upper(), word.lower(), word.title(), word.swapcase(), f" {word}", f"{word} ", f"{word}\n", f"{word}\u200b", wide}
    return {*made, word.translate(ALIKE), word.replace("s", "\u017f"), word.replace("k", "\u212a")} - {word}


def enums(schema: Any) -> Iterator[Literal]:
    """Each part of a schema that names its words."""
    if isinstance(schema, dict):
        if isinstance(schema.get("enum"), list):
            yield schema
        for part in schema.values():
            yield from enums(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from enums(part)


def test_words_of_bodies_are_taken_as_they_are_written_or_not_at_all() -> None:
    tried = 0
    seen: set[tuple[str, ...]] = set()
    for route in ROUTES:
        for version in {route.since, min(route.until, LATEST)} if route.body is not None else ():
            for part in enums(at(route.body.literal, version)):
                words = tuple(word for word in part["enum"] if isinstance(word, str))
                if not words or words in seen:
                    continue
                seen.add(words)
                own = Schema({"type": "object", "properties": {"word": part}})
                for word in {v for w in words for v in variants(w)} - set(words):
                    if word.lower() in {"true", "false", "t", "f", "on", "off", "yes", "no", "y", "n", "1", "0"} & set(words):
                        continue  # ``truth`` reads them in any case
                    with pytest.raises(Invalid):
                        own.check({"word": word}, version)
                    tried += 1
    assert tried > 200


@pytest.mark.parametrize("hint", ["different_host", "same_host", "group"])
async def test_ids_in_hints_are_kept_as_those_of_servers_are_written(api: Api, hint: str) -> None:
    await api.flavor("1")
    one = OTHER
    if hint == "group":
        made = await api.post("/os-server-groups", {"server_group": {"name": "g", "policy": "anti-affinity"}}, version="2.64")
        one = made.body["server_group"]["id"].upper()
    for written in (one, [one], one.replace("-", "")):
        asked = {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}, "os:scheduler_hints": {hint: written}}
        answer = await api.post("/servers", asked)
        if answer.status == 400:
            continue
        assert answer.status == 202, answer
        async with api.database.connection() as conn:
            kept = await conn.fetchval("SELECT scheduler_hints FROM instances WHERE uuid = $1", answer.body["server"]["id"])
        assert kept[hint] == ([one.lower()] if isinstance(written, list) and hint != "group" else one.lower())


WORDS = {
    "os:secure_boot": "required",
    "hw:mem_encryption": "true",
    "hw:locked_memory": "yes",
    "hw:tpm_secret_security": "host",
    "group_policy": "isolate",
    "trait:CUSTOM_TRUSTED": "required",
    "trait1:HW_CPU_X86_AVX": "forbidden",
    "hw:cpu_policy": "dedicated",
    "hw:cpu_thread_policy": "isolate",
    "hw:emulator_threads_policy": "isolate",
}
TRUTHS = {"hw:mem_encryption", "hw:locked_memory"}  # in any case, and with blanks around


@pytest.mark.parametrize("spec", WORDS)
async def test_a_flavor_that_says_otherwise_what_protects_a_guest_boots_none(api: Api, spec: str) -> None:
    """Before 2.86 a flavor keeps any word; at its first server at the latest it is refused."""
    await api.flavor("1")
    for word in sorted(variants(WORDS[spec])):
        if spec in TRUTHS and word.strip().lower() == WORDS[spec]:
            continue
        put = await api.post("/flavors/1/os-extra_specs", {"extra_specs": {spec: word}}, "admin", "2.85")
        if put.status == 400:
            continue
        answer = await api.post("/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}})
        assert answer.status == 400, (word, answer)


PROPERTIES = {
    "os_secure_boot": "required",
    "hw_firmware_type": "uefi",
    "hw_mem_encryption": "true",
    "img_config_drive": "mandatory",
    "trait:CUSTOM_TRUSTED": "required",
    "hw_cpu_policy": "dedicated",
}


@pytest.mark.parametrize("name", PROPERTIES)
async def test_an_image_that_says_otherwise_what_protects_a_guest_boots_none(api: Api, name: str) -> None:
    await api.flavor("1")
    for word in sorted(variants(PROPERTIES[name])):
        if name == "hw_mem_encryption" and word.strip().lower() == "true":
            continue
        api.images.shelf[IMAGE] = image(IMAGE, properties={name: word})
        answer = await api.post("/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}})
        assert answer.status == 400, (word, answer)
