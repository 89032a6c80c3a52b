"""What happened in a workspace, in order: a log of signed statements that only grows, kept in the workspace's own storage.

One blob for each entry, named by its number and created only if there is none of that name (`If-None-Match: *`; "Specifying conditional
headers for Blob service operations", learn.microsoft.com/rest/api/storageservices). An entry holds the digest of the entry before it and
is signed as a whole, so nobody without the key can write one, or link others anew. Two writers at once both want the next number; the one
that comes second reads what is there and takes the number after it. A small blob is there whole or not at all, so a writer may be killed
at any moment.

What is found: an entry that was altered, removed, moved, brought in from another ledger, or written without the key. What is not, from
the ledger alone: that its last entries are missing, since what is left is a sound ledger too. So the number and digest of the last entry
are kept with the evidence of every job and in its summary, where who may write to the storage may not write; `audit` compares. An
immutability policy on the container keeps entries from being removed or replaced in the first place.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aml import blobs, digest, evidence, signing, spec
from aml.azure import Client
from aml.command import Refusal
from aml.signing import Envelope, Key, Signer
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient

CONTAINER = "evidence-ledger"
LINK = "application/vnd.azureml-catalog.ledger-entry+json"
LARGEST = 16 << 20  # bytes of an entry
READERS = 16  # entries read at a time

_NAME = re.compile(r"entries/([0-9]{10})\.json")  # \d would take digits of other alphabets, and one number would have two names


def name_of(sequence: int) -> str:
    """The name of an entry's blob."""
    return f"entries/{sequence:010d}.json"


def id_of(at: Workspace) -> str:
    """Which ledger it is: the workspace's resource id. Azure compares those without case."""
    return at.arm_id.lower()


@dataclass(frozen=True)
class Entry:
    """One entry, by the bytes that are stored."""

    data: bytes

    @cached_property
    def document(self) -> dict[str, Any]:
        """The entry as schemas/ledger.schema.json has it. Raises Refusal for bytes that are no entry, or not its only spelling."""
        import rfc8785

        try:
            found = json.loads(self.data)
            problems = spec.invalid(found, "ledger")
            if not problems and rfc8785.dumps(found) != self.data:
                problems = ["its bytes are not those that were written"]
        except (ValueError, RecursionError) as error:
            problems = [str(error)]
        if problems:
            raise Refusal("this is no entry of a ledger", "; ".join(problems[:3]), _ASK)
        return found  # type: ignore[no-any-return]

    @property
    def sequence(self) -> int:
        """Its number; the first is 1."""
        return int(self.document["sequence"])

    @property
    def digest(self) -> str:
        """The digest that the entry after it holds."""
        return digest.of_bytes(self.data)

    @property
    def held(self) -> dict[str, int]:
        """The bundles that are held once it is written, each with the number of the entry that holds it (see aml/holds.py)."""
        return dict(self.document["held"])

    @cached_property
    def statement(self) -> dict[str, Any]:
        """The statement, unverified: `check` verifies it."""
        return signing.statement(base64.b64decode(self.document["envelope"]["payload"]))


@dataclass(frozen=True)
class Head:
    """The last entry of a ledger as somebody saw it; `source` says who."""

    ledger: str
    sequence: int
    entry: str
    source: str = ""


def held_after(held: Mapping[str, int], statement: Mapping[str, Any], sequence: int) -> dict[str, int]:
    """The held bundles once a statement is entry number `sequence`."""
    bundle_id, verb = "sha256:" + statement["subject"][0]["digest"]["sha256"], statement["predicate"]["verb"]
    if verb == "hold_release":
        return {bundle_id: sequence, **held}
    return {name: at for name, at in held.items() if verb != "release_hold" or name != bundle_id}


def link(ledger: str, previous: Entry | None, envelope: Envelope, payload: bytes, signer: Signer) -> Entry:
    """The entry that comes after `previous`, signed."""
    import rfc8785

    sequence = previous.sequence + 1 if previous else 1
    document: dict[str, Any] = {
        "ledger": ledger,
        "sequence": sequence,
        "previous": previous.digest if previous else _beginning(ledger),
        "time": evidence.now(),
        "statement": digest.of_bytes(payload),
        "held": held_after(previous.held if previous else {}, signing.statement(payload), sequence),
        "envelope": envelope,
    }
    document["signatures"] = [signer.signature(signing.pae(LINK, rfc8785.dumps(document)))]
    return Entry(rfc8785.dumps(document))


def check(entry: Entry, ledger: str, keys: Sequence[Key]) -> None:
    """Raises Refusal unless an entry is of this ledger, and both it and its statement are signed with one of the keys."""
    import rfc8785

    document = entry.document
    if document["ledger"] != ledger:
        raise Refusal("the entry is of another ledger", f"it was written for {document['ledger']}", _ASK)
    unsigned = {name: value for name, value in document.items() if name != "signatures"}
    signing.verify(signing.wrapped(rfc8785.dumps(unsigned), LINK, document["signatures"]), keys, payload_type=LINK)
    payload = signing.verify(document["envelope"], keys)
    if (found := digest.of_bytes(payload)) != document["statement"]:
        raise Refusal("the entry holds another statement than it says", f"it is {found}, not {document['statement']}", _ASK)
    signing.statement(payload)


def audit(ledger: str, found: Mapping[str, bytes], keys: Sequence[Key], heads: Iterable[Head] = ()) -> tuple[list[Entry], list[str]]:
    """The sound entries among blobs (by name) in their order, and everything that is wrong with the ledger, one line each."""
    entries: dict[int, Entry] = {}
    bad: set[int] = set()
    lines = []
    for name, data in sorted(found.items()):
        match = _NAME.fullmatch(name)
        if not match:
            lines.append(f"{name} is no entry, and nothing else belongs there")
            continue
        sequence, entry = int(match[1]), Entry(data)
        try:
            check(entry, ledger, keys)
            if entry.sequence != sequence:
                raise Refusal(f"it was moved: it is entry {entry.sequence}")
        except Refusal as refusal:
            bad.add(sequence)
            lines.append(f"entry {sequence}: {refusal}")
        entries[sequence] = entry
    last, previous = max(entries, default=0), 0
    for sequence in sorted(entries):
        if sequence > previous + 1:  # in one line: a forged entry may have any number
            gap = f"entry {previous + 1} is" if sequence == previous + 2 else f"entries {previous + 1} to {sequence - 1} are"
            lines.append(f"{gap} missing: {'it was' if sequence == previous + 2 else 'they were'} removed")
        elif sequence not in bad and previous not in bad:
            lines += _follows(entries[sequence], entries.get(previous), ledger)
        previous = sequence
    for head in heads:
        if head.ledger != ledger:
            continue
        seen = f"{head.source or 'evidence'} saw entry {head.sequence}"
        if head.sequence > last:
            lines.append(f"{seen}, and the ledger ends at {last}: its end was cut off")
        elif head.sequence in entries and entries[head.sequence].digest != head.entry:
            lines.append(f"{seen} as {head.entry}, and it is {entries[head.sequence].digest}: it was replaced")
    return [entries[sequence] for sequence in sorted(entries) if sequence not in bad], lines


def _follows(entry: Entry, before: Entry | None, ledger: str) -> list[str]:
    sequence, previous = entry.sequence, before.digest if before else _beginning(ledger)
    if entry.document["previous"] != previous:
        return [f"entry {sequence} does not follow entry {sequence - 1}: one of the two was altered, or brought in"]
    if entry.held != held_after(before.held if before else {}, entry.statement, sequence):
        return [f"entry {sequence} holds other bundles than its statement says"]
    return []


def _beginning(ledger: str) -> str:
    return digest.of_bytes(ledger.encode())


@dataclass(frozen=True)
class Ledger:
    """A workspace's ledger in its storage. `id` says which, `keys` are those that the workspace's spec pins."""

    id: str
    keys: list[Key]
    container: ContainerClient

    def head(self) -> Entry | None:
        """The last entry, checked; None if there is none yet. Two calls. Raises Refusal if it is not one that the workspace signed."""
        return self._checked(max(self._listed(), default=0))

    def read(self, sequence: int) -> Entry:
        """One entry, unchecked."""
        return Entry(blobs.read(self.container, name_of(sequence), limit=LARGEST))

    def read_all(self) -> dict[str, bytes]:
        """Everything that is stored, by name: what `audit` takes."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            names = list(self.container.list_blob_names())
        except ResourceNotFoundError:
            return {}
        with ThreadPoolExecutor(READERS) as readers:
            return dict(zip(names, readers.map(lambda name: blobs.read(self.container, name, limit=LARGEST), names), strict=True))

    def append(self, payload: bytes, signed: Callable[[], Envelope], signer: Signer) -> tuple[Entry, bool]:
        """The entry of a statement, and whether it is new: a statement is entered once.

        `signed` gives its envelope, and is called only if it is new. Raises Refusal if the last entry is none of the workspace's: what
        comes after it could not be told from what was forged.
        """
        wanted, known = digest.of_bytes(payload), self._listed()
        for sequence, statement in known.items():
            if statement == wanted.removeprefix("sha256:") and (entry := self._checked(sequence)) and entry.document["statement"] == wanted:
                return entry, False
        previous, envelope = self._checked(max(known, default=0)), signed()
        while True:
            made = link(self.id, previous, envelope, payload, signer)
            if self._create(made):
                return made, True
            previous = self._checked(made.sequence)
            assert previous
            if previous.data == made.data:
                return made, True  # it was ours, and the answer was lost
            if previous.document["statement"] == wanted:
                return previous, False

    def _listed(self) -> dict[int, str]:
        """The numbers of all entries, each with the digest of its statement as its metadata says, which proves nothing."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = list(self.container.list_blobs(name_starts_with="entries/", include=["metadata"]))
        except ResourceNotFoundError:
            return {}
        named = ((_NAME.fullmatch(blob.name), blob.metadata or {}) for blob in found)
        return {int(name[1]): str(metadata.get("statement", "")) for name, metadata in named if name}

    def _checked(self, sequence: int) -> Entry | None:
        if not sequence:
            return None
        entry = self.read(sequence)
        try:
            check(entry, self.id, self.keys)
            if entry.sequence != sequence:
                raise Refusal(f"it is entry {entry.sequence}")
        except Refusal as refusal:
            why = f"{refusal.what}. {refusal.why}".strip(". ")
            raise Refusal(f"entry {sequence} of the ledger of {self.id.rpartition('/')[2]} is not to be trusted", why, _ASK) from refusal
        return entry

    def _create(self, entry: Entry) -> bool:
        """Store an entry; False if there is one of its number."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        while True:
            try:
                metadata = {"statement": entry.document["statement"].removeprefix("sha256:")}
                self.container.upload_blob(name_of(entry.sequence), entry.data, overwrite=False, metadata=metadata)
                return True
            except ResourceExistsError:
                return False
            except ResourceNotFoundError:
                try:
                    self.container.create_container()
                except ResourceExistsError:
                    pass  # another writer made it just now


def of(at: Workspace, client: Client, credential: TokenCredential) -> Ledger:
    """The workspace's ledger. `client` is ARM below the workspace. Raises Refusal if the spec pins no keys."""
    from azure.storage.blob import ContainerClient

    keys = signing.trusted(at)
    # As the caller, not by the account's key, so that the storage's own logs say who wrote what; and where ARM says, which who may
    # write datastores can't change.
    account = str(client.get()["properties"]["storageAccount"]).rpartition("/")[2]
    address = f"https://{account}.blob.core.windows.net"
    return Ledger(id_of(at), keys, ContainerClient(address, CONTAINER, credential=credential, **blobs.RETRIES))


def keep_head(folder: Path, at: Workspace, entry: Entry) -> None:
    """Keep the number and digest of an entry with the evidence, where who may write to the ledger's storage may not write."""
    document = {"ledger": id_of(at), "sequence": entry.sequence, "entry": entry.digest}
    evidence.replace(folder / f"ledger-{at.name}.json", json.dumps(document, indent=2).encode() + b"\n")


def heads(folder: Path) -> list[Head]:
    """The heads that are kept anywhere below a folder, as `keep_head` wrote them: `ledger-<workspace>.json`."""
    found = []
    for path in sorted(folder.rglob("ledger-*.json")):
        try:
            document = json.loads(path.read_bytes())
            found.append(Head(str(document["ledger"]), int(document["sequence"]), str(document["entry"]), str(path)))
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{path} names no entry of a ledger", str(error), "take it from the artifact of the job again") from error
    return found


_ASK = "find out who wrote it (the storage account's logs tell), and keep it for who asks; then have what is there restored"
