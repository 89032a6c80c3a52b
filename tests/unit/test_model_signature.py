"""The model's signature: the OpenSSF's form, and every way in which files and signature can differ."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from aml import digest, model_signature, signing, workspace
from aml.signing import Signer

CORPUS = Path(__file__).parent / "corpus" / "signing"
FILES = {"MLmodel": f"sha256:{'01' * 32}", "data/model.pkl": f"sha256:{'02' * 32}", "é è.txt": f"sha256:{'03' * 32}"}


def signer() -> Signer:
    private = ec.generate_private_key(ec.SECP256R1())

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return Signer([signing.key(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())], sign, "a key")


OURS, THEIRS = signer(), signer()
SIGNED = model_signature.made("delay", FILES, OURS)


def test_it_has_the_form_that_the_projects_own_tool_writes() -> None:
    # model.sig was made by model-signing 1.1.1 of a.txt ("a") and sub/b.bin ("b"), and ours is held against it, key by key.
    theirs = json.loads((CORPUS / "model.sig").read_text())
    contents = {"a.txt": b"a\n", "sub/b.bin": b"b\n"}
    files = {name: digest.of_bytes(content) for name, content in contents.items()}
    assert model_signature.problems((CORPUS / "model.sig").read_bytes(), files, [signing.key((CORPUS / "public.pem").read_text())]) == []
    ours = json.loads(model_signature.made("model", files, OURS))
    assert ours["mediaType"] == theirs["mediaType"]
    assert ours["verificationMaterial"].keys() == theirs["verificationMaterial"].keys()
    assert ours["dsseEnvelope"].keys() == theirs["dsseEnvelope"].keys()
    said, told = (json.loads(base64.b64decode(one["dsseEnvelope"]["payload"])) for one in (ours, theirs))
    assert said["subject"] == told["subject"], "the digest of the whole, too"
    assert said["predicate"]["resources"] == told["predicate"]["resources"]
    assert said["predicate"]["serialization"] | {"ignore_paths": []} == told["predicate"]["serialization"] | {"ignore_paths": []}
    hint = hashlib.sha256((CORPUS / "public.pem").read_bytes()).hexdigest()
    assert theirs["verificationMaterial"]["publicKey"]["hint"] == hint
    assert ours["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(OURS.keys[0].pem()).hexdigest()


@given(st.dictionaries(st.text(min_size=1), st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}"), max_size=4))
def test_only_the_files_that_were_signed_fit(files: dict[str, str]) -> None:
    assert bool(model_signature.problems(SIGNED, files, OURS.keys)) == (files != FILES)


def test_each_difference_is_a_line() -> None:
    assert model_signature.problems(SIGNED, FILES, OURS.keys) == []
    found = {**FILES, "MLmodel": f"sha256:{'ff' * 32}", "new": f"sha256:{'04' * 32}"}
    del found["é è.txt"]
    lines = model_signature.problems(SIGNED, found, OURS.keys)
    assert lines == [
        "é è.txt is signed, and the model does not have it",
        "new is in the model, and is not signed",
        f"MLmodel is sha256:{'ff' * 32} in the model, and is signed as sha256:{'01' * 32}",
    ]


def test_a_signature_that_does_not_count() -> None:
    def said(change: Any = None, by: Signer = OURS) -> str:
        document = json.loads(model_signature.made("delay", FILES, by))
        if change:
            change(document)
        [line] = model_signature.problems(json.dumps(document).encode(), FILES, OURS.keys)
        return line

    assert "a key that is not trusted" in said(by=THEIRS)
    assert "it is not signed" in said(lambda document: document["dsseEnvelope"].update(signatures=[]))
    assert "does not fit it" in said(lambda document: document["dsseEnvelope"].update(payload="e30="))
    assert "no signed envelope" in said(lambda document: document.update(mediaType="application/json"))
    evidence = OURS.envelope(b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:azureml-catalog:evidence:v1"}')
    assert "what is signed is no model" in said(lambda document: document.update(dsseEnvelope=evidence))
    assert "cannot be read" in said(lambda document: document.pop("dsseEnvelope"))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"mediaType": 1}'])
def test_what_is_no_signature_is_one_line(data: bytes) -> None:
    [line] = model_signature.problems(data, FILES, OURS.keys)
    assert "the model's signature" in line


def test_production_that_trusts_no_key_takes_nothing_in_a_project_that_signs(files: Any) -> None:
    prod = workspace.load(files.folder, "prod")
    assert model_signature.checked(prod, None, FILES) == [], "nobody signs"
    dev = ".cloud/workspaces/dev.yml"
    pem = (CORPUS / "public.pem").read_text().replace("\n", "\n      ").rstrip()
    files.write(dev, (files.folder / dev).read_text() + f"signing:\n  trusted:\n    - |\n      {pem}\n")
    [line] = model_signature.checked(workspace.load(files.folder, "prod"), None, FILES)
    assert line == "other workspaces of the project sign, and prod trusts no key; add signing to .cloud/workspaces/prod.yml"
    assert "is not signed" in model_signature.checked(workspace.load(files.folder, "dev"), None, FILES)[0]
