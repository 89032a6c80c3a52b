"""The ledger's chain: whatever is done to what is stored is found, and two who write at once lose nothing."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError, ServiceResponseError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from aml import evidence, ledger, signing
from aml.command import Refusal
from aml.ledger import Entry, Head, Ledger
from aml.signing import Signer

ID = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"


def signer() -> Signer:
    private = ec.generate_private_key(ec.SECP256R1())

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Signer([signing.key(pem)], sign, "a key")


OURS, THEIRS = signer(), signer()


def payload(number: int, verb: str = "smoke_test", bundle: str = "ab") -> bytes:
    subject = evidence.about_bundle("m", "sha256:" + bundle * 32)
    made = evidence.statement(subject, verb, "passed", workspace="w", started=evidence.now(), facts={"number": number})
    return json.dumps(made).encode()


def grown(count: int, by: Signer = OURS, ledger_id: str = ID) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        content = payload(number)
        entries.append(ledger.link(ledger_id, entries[-1] if entries else None, by.envelope(content), content, by))
    return entries


def stored(entries: list[Entry]) -> dict[str, bytes]:
    return {ledger.name_of(entry.sequence): entry.data for entry in entries}


FIVE = grown(5)


def test_a_sound_ledger_has_no_problems() -> None:
    entries, problems = ledger.audit(ID, stored(FIVE), OURS.keys, [Head(ID, 5, FIVE[4].digest), Head(ID, 2, FIVE[1].digest)])
    assert (entries, problems) == (FIVE, [])
    assert ledger.audit(ID, {}, OURS.keys) == ([], [])
    assert [entry.sequence for entry in FIVE] == [1, 2, 3, 4, 5]
    assert all(b.document["previous"] == a.digest for a, b in itertools.pairwise(FIVE))


@given(st.integers(0, 4), st.data())
def test_any_byte_that_is_changed_is_found(which: int, data: st.DataObject) -> None:
    found, name = stored(FIVE), ledger.name_of(which + 1)
    at = data.draw(st.integers(0, len(found[name]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != found[name][at]))
    found[name] = found[name][:at] + bytes([other]) + found[name][at + 1 :]
    assert ledger.audit(ID, found, OURS.keys)[1]


@given(st.permutations(range(5)))
def test_any_other_order_is_found(order: list[int]) -> None:
    found = {ledger.name_of(place + 1): FIVE[which].data for place, which in enumerate(order)}
    assert bool(ledger.audit(ID, found, OURS.keys)[1]) == (order != [0, 1, 2, 3, 4])


@given(st.sets(st.integers(1, 5)))
def test_whatever_is_removed_is_found_but_for_the_end(left: set[int]) -> None:
    found = {ledger.name_of(number): FIVE[number - 1].data for number in left}
    assert bool(ledger.audit(ID, found, OURS.keys)[1]) == (left != set(range(1, len(left) + 1)))
    known = [Head(ID, 5, FIVE[4].digest, "the artifact")]
    assert bool(ledger.audit(ID, found, OURS.keys, known)[1]) == (len(left) < 5), "a head that was kept elsewhere tells of the end"


def test_each_fault_is_said() -> None:
    def problems(found: dict[str, bytes], heads: list[Head] | None = None) -> str:
        return " | ".join(ledger.audit(ID, found, OURS.keys, heads or [])[1])

    sound = stored(FIVE)
    assert "entry 3 is missing: it was removed" in problems({name: data for name, data in sound.items() if "3" not in name})
    closed = [Entry(FIVE[0].data), *(Entry(entry.data) for entry in FIVE[2:])]
    assert "entry 2: it was moved: it is entry 3" in problems({ledger.name_of(at + 1): entry.data for at, entry in enumerate(closed)})
    cut = problems(stored(FIVE[:3]), [Head(ID, 5, FIVE[4].digest, "the summary of run 7")])
    assert cut == "the summary of run 7 saw entry 5, and the ledger ends at 3: its end was cut off"
    content = payload(99)
    again = [*FIVE[:3], ledger.link(ID, FIVE[2], OURS.envelope(content), content, OURS)]
    again.append(ledger.link(ID, again[3], OURS.envelope(content), content, OURS))
    assert problems(stored(again)) == "", "who has the key can write the end anew"
    assert "and it is sha256:" in problems(stored(again), [Head(ID, 4, FIVE[3].digest)]), "but not what was seen"
    other = grown(1, ledger_id=ID + "2")
    assert "the entry is of another ledger" in problems(stored(other))
    assert "a key that is not trusted" in problems(stored(grown(2, THEIRS)))
    assert "is no entry, and nothing else belongs there" in problems({**sound, "entries/1.json": b"", "x": b""})
    spaced = json.dumps(FIVE[1].document).encode()
    assert "not those that were written" in problems({**sound, ledger.name_of(2): spaced})


def test_a_forged_number_costs_one_line() -> None:
    entries, lines = ledger.audit(ID, {**stored(FIVE), ledger.name_of(9_999_999_999): b"{}"}, OURS.keys)
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert lines[1:] == ["entries 6 to 9999999998 are missing: they were removed"]
    assert lines[0].startswith("entry 9999999999: ")


def test_a_number_has_one_name() -> None:
    arabic = ledger.name_of(1).translate({ord(str(digit)): chr(0x660 + digit) for digit in range(10)})
    assert ledger.audit(ID, {**stored(FIVE), arabic: FIVE[0].data}, OURS.keys)[1] == [
        f"{arabic} is no entry, and nothing else belongs there"
    ]


def test_nobody_links_anew_without_the_key() -> None:
    """An entry is taken out and what follows is numbered and linked again, with the old signatures: what a forger could do."""
    kept, forged, found = [FIVE[0], *FIVE[2:]], [], {}
    for at, entry in enumerate(kept, 1):
        document = {**entry.document, "sequence": at}
        if forged:
            document["previous"] = forged[-1].digest
        forged.append(Entry(rfc8785.dumps(document)))
        found[ledger.name_of(at)] = forged[-1].data
    assert "entry 2: its signature does not fit it" in " ".join(line.lower() for line in ledger.audit(ID, found, OURS.keys)[1])


def test_a_statement_of_one_entry_is_none_of_another() -> None:
    document = {**FIVE[1].document, "envelope": FIVE[2].document["envelope"]}
    document.pop("signatures")
    document["signatures"] = [OURS.signature(signing.pae(ledger.LINK, rfc8785.dumps(document)))]
    with pytest.raises(Refusal, match="another statement than it says"):
        ledger.check(Entry(rfc8785.dumps(document)), ID, OURS.keys)
    with pytest.raises(Refusal, match=r"no proof of another|does not fit"):
        signing.verify({**FIVE[1].document["envelope"], "signatures": FIVE[1].document["signatures"]}, OURS.keys)


def test_what_is_held_follows_from_the_statements() -> None:
    entries: list[Entry] = []
    for verb, bundle in (
        ("hold_release", "aa"),
        ("hold_release", "bb"),
        ("smoke_test", "aa"),
        ("hold_release", "aa"),
        ("release_hold", "aa"),
    ):
        content = payload(len(entries), verb, bundle)
        entries.append(ledger.link(ID, entries[-1] if entries else None, OURS.envelope(content), content, OURS))
    a, b = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32
    assert [entry.held for entry in entries] == [{a: 1}, {a: 1, b: 2}, {a: 1, b: 2}, {a: 1, b: 2}, {b: 2}]
    document = {name: value for name, value in entries[2].document.items() if name != "signatures"} | {"held": {}}
    document["signatures"] = [OURS.signature(signing.pae(ledger.LINK, rfc8785.dumps(document)))]
    forged = Entry(rfc8785.dumps(document))
    assert (
        "entry 3 holds other bundles than its statement says" in ledger.audit(ID, {**stored(entries[:2]), **stored([forged])}, OURS.keys)[1]
    )


# --- who writes ------------------------------------------------------------------------------------------------------------------


class Stored:
    """A container in memory that creates a blob once, and may lose answers."""

    def __init__(self, exists: bool = True) -> None:
        self.blobs: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.exists, self.lock, self.lose = exists, threading.Lock(), 0

    def list_blobs(self, name_starts_with: str, include: list[str]) -> Any:
        if not self.exists:
            raise ResourceNotFoundError("ContainerNotFound")
        kind = type("Blob", (), {})
        for name, (_, metadata) in sorted(self.blobs.items()):
            blob = kind()
            blob.name, blob.metadata = name, metadata
            yield blob

    def upload_blob(self, name: str, data: bytes, overwrite: bool, metadata: dict[str, str]) -> None:
        assert not overwrite
        with self.lock:
            if not self.exists:
                raise ResourceNotFoundError("ContainerNotFound")
            if name in self.blobs:
                raise ResourceExistsError("BlobAlreadyExists")
            self.blobs[name] = (data, metadata)
            if self.lose:  # the library asks again after a lost answer, and is told that the blob is there
                self.lose -= 1
                raise ResourceExistsError("BlobAlreadyExists")

    def create_container(self) -> None:
        if self.exists:
            raise ResourceExistsError("ContainerAlreadyExists")
        self.exists = True

    def download_blob(self, name: str) -> Any:
        data = self.blobs[name][0]
        return type("Stream", (), {"size": len(data), "readall": lambda self: data})()

    @property
    def data(self) -> dict[str, bytes]:
        return {name: data for name, (data, _) in self.blobs.items()}


def opened(container: Stored) -> Ledger:
    return Ledger(ID, OURS.keys, container)  # type: ignore[arg-type]


def enter(to: Ledger, content: bytes) -> tuple[Entry, bool]:
    return to.append(content, lambda: OURS.envelope(content), OURS)


def test_a_ledger_begins_and_a_statement_is_entered_once() -> None:
    container = Stored(exists=False)
    log = opened(container)
    assert log.head() is None
    first, new = enter(log, payload(1))
    assert (first.sequence, new) == (1, True)
    again, new = log.append(payload_of(first), lambda: pytest.fail("it is signed already"), OURS)
    assert (again.data, new, len(container.blobs)) == (first.data, False, 1)
    assert log.head() == first


def payload_of(entry: Entry) -> bytes:
    return base64.b64decode(entry.document["envelope"]["payload"])


def test_a_lost_answer_makes_no_second_entry() -> None:
    container = Stored()
    container.lose = 1
    entry, new = enter(opened(container), payload(1))
    assert (entry.sequence, new, len(container.blobs)) == (1, True, 1)


def test_many_writers_at_once_lose_nothing() -> None:
    container = Stored(exists=False)
    contents = [payload(number) for number in range(24)]
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def write(mine: list[bytes]) -> None:
        try:
            start.wait()
            for content in mine:
                enter(opened(container), content)
        except BaseException as error:
            failed.append(error)

    # Each statement is entered by two of them.
    threads = [threading.Thread(target=write, args=(contents[at % 4 :: 4],)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    entries, problems = ledger.audit(ID, container.data, OURS.keys)
    assert not problems
    assert sorted(payload_of(entry) for entry in entries) == sorted(contents)


def test_nothing_is_chained_to_what_was_forged() -> None:
    container = Stored()
    forged = grown(1, THEIRS)[0]
    container.upload_blob(ledger.name_of(1), forged.data, False, {})
    with pytest.raises(Refusal, match="entry 1 of the ledger of w is not to be trusted"):
        enter(opened(container), payload(1))
    assert len(container.blobs) == 1


def test_metadata_proves_nothing() -> None:
    container, content = Stored(), payload(1)
    other = grown(1)[0]
    import hashlib

    container.upload_blob(ledger.name_of(1), other.data, False, {"statement": hashlib.sha256(content).hexdigest()})
    entry, new = enter(opened(container), content)
    assert (entry.sequence, new) == (2, True)


def test_an_error_of_the_storage_is_not_hidden() -> None:
    class Broken(Stored):
        def upload_blob(self, *_: Any, **__: Any) -> None:
            raise ServiceResponseError("reset")

    with pytest.raises(ServiceResponseError):
        enter(opened(Broken()), payload(1))


def test_a_head_is_kept_and_found_again(tmp_path: Path) -> None:
    from aml.workspace import Workspace

    at = Workspace("prod", tmp_path, "prod", "t", "S", "G", "W", "c")
    (tmp_path / "artifact").mkdir()
    ledger.keep_head(tmp_path / "artifact", at, FIVE[4])
    [head] = ledger.heads(tmp_path)
    assert (head.ledger, head.sequence, head.entry) == (ledger.id_of(at), 5, FIVE[4].digest)
    assert head.ledger == at.arm_id.lower()
    (tmp_path / "ledger-x.json").write_text("{}")
    with pytest.raises(Refusal, match="names no entry of a ledger"):
        ledger.heads(tmp_path)
