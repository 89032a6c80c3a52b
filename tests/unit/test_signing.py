"""Signatures: the exact bytes, who made them, and a text of its own for each way in which they can be wrong."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from aml import azure, evidence, signing, workspace
from aml.command import Refusal
from aml.signing import Key, Signer

TYPE = "application/vnd.in-toto+json"


def made(curve: ec.EllipticCurve | None = None) -> tuple[bytes, str]:
    """(private PEM, public PEM) of a new key."""
    private = ec.generate_private_key(curve or ec.SECP256R1())
    return pems(private)


def pems(private: Any) -> tuple[bytes, str]:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(serialization.Encoding.PEM, *form), public.decode()


ONE, OTHER = made(), made()


def signer(pair: tuple[bytes, str], folder: Path, *pinned: str) -> Signer:
    path = folder / f"{hashlib.sha256(pair[0]).hexdigest()[:8]}.pem"
    path.write_bytes(pair[0])
    return Signer([signing.key(pem) for pem in pinned or (pair[1],)], signing._local(path), f"the private key {path}")


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(ONE, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def by_other(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return signer(OTHER, tmp_path_factory.mktemp("keys"))


KEYS = [signing.key(ONE[1])]


def refused(envelope: Any, keys: list[Key] = KEYS, **more: Any) -> str:
    with pytest.raises(Refusal) as caught:
        signing.verify(envelope, keys, **more)
    return str(caught.value)


def test_the_bytes_are_those_of_the_protocol() -> None:
    # The example of the protocol's own document (secure-systems-lab/dsse, protocol.md, test vector).
    assert signing.pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert signing.pae("", b"") == b"DSSEv1 0  0 "
    assert signing.pae("é", b"\x00") == b"DSSEv1 2 \xc3\xa9 1 \x00", "lengths are of bytes"


def read(data: bytes) -> tuple[str, bytes]:
    """Type and payload of such bytes, by another road: the lengths are followed."""
    word, length, rest = data.split(b" ", 2)
    kind, rest = rest[: int(length)], rest[int(length) + 1 :]
    length, rest = rest.split(b" ", 1)
    assert (word, len(rest)) == (b"DSSEv1", int(length))
    return kind.decode(), rest


@given(st.text(), st.binary(), st.text(), st.binary())
def test_no_two_things_have_the_same_bytes(kind: str, payload: bytes, other_kind: str, other: bytes) -> None:
    assert read(signing.pae(kind, payload)) == (kind, payload)
    assert (signing.pae(kind, payload) == signing.pae(other_kind, other)) == ((kind, payload) == (other_kind, other))


@given(st.binary())
def test_what_is_signed_comes_back(payload: bytes) -> None:
    private = serialization.load_pem_private_key(ONE[0], None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    sig = private.sign(signing.pae(TYPE, payload), ec.ECDSA(hashes.SHA256()))
    assert signing.verify(signing.wrapped(payload, TYPE, [{"keyid": "", "sig": base64.b64encode(sig).decode()}]), KEYS) == payload


def test_an_envelope_is_what_others_read(by_one: Signer) -> None:
    envelope = by_one.envelope(b'{"a": 1}')
    assert list(envelope) == ["payload", "payloadType", "signatures"]
    assert envelope["payloadType"] == TYPE
    [signature] = envelope["signatures"]
    public = serialization.load_pem_public_key(ONE[1].encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert signature["keyid"] == hashlib.sha256(der).hexdigest()
    public.verify(base64.b64decode(signature["sig"]), b'DSSEv1 28 application/vnd.in-toto+json 8 {"a": 1}', ec.ECDSA(hashes.SHA256()))


def test_a_signature_of_another_tool_verifies() -> None:
    # Made by the OpenSSF's model-signing 1.1.1 with this key ("sign key --private_key"), of a folder of two files.
    folder = Path(__file__).parent / "corpus" / "signing"
    envelope = json.loads((folder / "model.sig").read_text())["dsseEnvelope"]
    key = signing.key((folder / "public.pem").read_text())
    assert json.loads(signing.verify(envelope, [key]))["predicateType"] == "https://model_signing/signature/v1.0"
    assert "is signed by a key that is not trusted" in refused(envelope, KEYS)


# --- each fault its own text -----------------------------------------------------------------------------------------------------


def test_every_fault_has_a_text_of_its_own(by_one: Signer, by_other: Signer) -> None:
    good = by_one.envelope(b"{}")
    forged = {**by_other.envelope(b"{}")}
    forged["signatures"] = [{**forged["signatures"][0], "keyid": KEYS[0].id}]
    link = by_one.envelope(b"{}", "application/vnd.azureml-catalog.ledger-entry+json")
    texts = {
        "unsigned": refused({**good, "signatures": []}),
        "altered": refused({**good, "payload": base64.b64encode(b"{ }").decode()}),
        "another key": refused(by_other.envelope(b"{}")),
        "another's key": refused(by_other.envelope(b"{}"), others={"workspace dev": by_other.keys}),
        "under its name": refused(forged, others={"workspace dev": by_other.keys}),
        "type": refused(link),
        "type relabelled": refused({**link, "payloadType": TYPE}),
        "no base64": refused({**good, "payload": "{}"}),
        "form": refused({**good, "more": 1}),
    }
    assert "it is not signed" in texts["unsigned"].lower()
    assert "what was signed was altered" in texts["altered"]
    assert "a key that is not trusted" in texts["another key"]
    assert by_other.keys[0].id[:16] in texts["another key"]
    assert "signed by the key of workspace dev" in texts["another's key"]
    assert "signed by the key of workspace dev" in texts["under its name"]
    assert "under the name of" in refused(forged), "whose key it was is not known here"
    assert "what was signed as one thing is no proof of another" in texts["type"]
    assert "its signature does not fit it" in texts["type relabelled"], "the type is signed too"
    assert "not base64" in texts["no base64"]
    assert "no signed envelope" in texts["form"]
    assert all("Fix: " in text and "\n" not in text for text in texts.values())


@pytest.mark.parametrize(
    "envelope",
    [None, [], "x", {}, {"payload": 1, "payloadType": TYPE, "signatures": []}, {"payload": "", "payloadType": [], "signatures": 1},
     {"payload": "", "payloadType": TYPE, "signatures": {"a": 1}}, {"payload": "é", "payloadType": TYPE, "signatures": []},
     {"payload": "", "payloadType": TYPE, "signatures": [{"sig": 1}]},
     {"payload": "", "payloadType": TYPE, "signatures": [{"keyid": "::error::x\n", "sig": "AA=="}]}],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(envelope: Any) -> None:
    assert "\n" not in refused(envelope)


@given(st.binary(max_size=80))
def test_no_other_signature_fits(signature: bytes) -> None:
    refused(signing.wrapped(b"{}", TYPE, [{"keyid": KEYS[0].id, "sig": base64.b64encode(signature).decode()}]))


def test_keys_are_renewed(tmp_path: Path, by_one: Signer, by_other: Signer) -> None:
    both = [*by_one.keys, *by_other.keys]
    for old_or_new in (by_one, by_other):
        assert signing.verify(old_or_new.envelope(b"{}"), both) == b"{}"
    with pytest.raises(Refusal, match="not among those that the workspace spec pins"):
        signer(OTHER, tmp_path, ONE[1]).envelope(b"{}")


@pytest.mark.parametrize(
    "pem", ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", made(ec.SECP384R1())[1], made(ec.SECP256K1())[1]]
)
def test_only_a_key_of_the_curve_is_a_key(pem: str) -> None:
    with pytest.raises(ValueError, match="it "):
        signing.key(pem)


# --- what signs ------------------------------------------------------------------------------------------------------------------


def spec(**signing_: Any) -> workspace.Workspace:
    return workspace.Workspace("prod", Path("."), "prod", "t", "s", "g", "w", "c", signing=signing_)


def test_a_key_of_ones_own_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.pem").write_bytes(ONE[0])
    monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(tmp_path / "key.pem"))
    found = signing.signer(spec(trusted=[ONE[1]]), None)  # type: ignore[arg-type]
    assert signing.verify(found.envelope(b"{}"), KEYS) == b"{}"
    assert "a key in a vault can't" in capsys.readouterr().err


def test_what_cannot_sign_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password = serialization.BestAvailableEncryption(b"secret")
    private = ec.generate_private_key(ec.SECP256R1())
    files = {
        "other.pem": pems(rsa.generate_private_key(65537, 2048))[0],
        "curve.pem": made(ec.SECP384R1())[0],
        "public.pem": ONE[1].encode(),
        "locked.pem": private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in (*files, "missing.pem", "."):
        monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(tmp_path / name))
        with pytest.raises(Refusal) as caught:
            signing.signer(spec(trusted=[ONE[1]]), None)  # type: ignore[arg-type]
        assert "openssl genpkey" in str(caught.value)
        assert "BEGIN" not in str(caught.value)
    monkeypatch.delenv("AML_SIGNING_KEY_PATH")
    with pytest.raises(Refusal, match="no key to sign with"):
        signing.signer(spec(trusted=[ONE[1]]), None)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="workspace prod has no signing keys"):
        signing.signer(spec(), None)  # type: ignore[arg-type]


class Credential:
    """Gives any token."""

    scopes: list[str]

    def __init__(self) -> None:
        self.scopes = []

    def get_token(self, *scopes: str, **_: Any) -> Any:
        from azure.core.credentials import AccessToken

        self.scopes += scopes
        return AccessToken("token", 2**33)


def test_a_vault_signs_the_digest_and_nothing_else_is_asked_of_it(played: Any, tmp_path: Path) -> None:
    local, credential = signer(ONE, tmp_path).sign, Credential()
    signature = local(signing.pae(TYPE, b"{}"))
    played.answer(200, {"kid": "x", "value": base64.urlsafe_b64encode(signature).rstrip(b"=").decode()})
    vault = signing._vault(f"{played.url}/keys/release", credential)
    envelope = Signer(KEYS, vault, "key x").envelope(b"{}")
    assert signing.verify(envelope, KEYS) == b"{}"
    [(method, path, headers, body)] = played.asked
    assert (method, path) == ("POST", "/keys/release/sign?api-version=7.4")
    value = base64.urlsafe_b64encode(hashlib.sha256(signing.pae(TYPE, b"{}")).digest()).rstrip(b"=").decode()
    assert body == {"alg": "ES256", "value": value}
    assert headers["Authorization"] == "Bearer token"
    assert credential.scopes[0] == "https://vault.azure.net/.default"


@pytest.mark.parametrize(("status", "fix"), [(403, "Microsoft.KeyVault/vaults/keys/sign/action"), (404, "P-256"), (400, "P-256")])
def test_a_vault_that_does_not_sign(played: Any, status: int, fix: str) -> None:
    played.answer(status, {"error": {"code": "Forbidden", "message": "Caller is not authorized"}})
    with pytest.raises(Refusal) as caught:
        signing._vault(f"{played.url}/keys/release", Credential())(b"")
    assert fix in str(caught.value)
    assert "Caller is not authorized" in str(caught.value)


def test_a_vault_that_is_down_is_no_refusal(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    played.answer(503)
    with pytest.raises(azure.HttpResponseError):
        signing._vault(f"{played.url}/keys/release", Credential())(b"")


def test_a_signature_of_another_length_is_refused() -> None:
    with pytest.raises(Refusal, match="ES256"):
        Signer(KEYS, lambda _: b"short", "key x").envelope(b"{}")


# --- statements ------------------------------------------------------------------------------------------------------------------


def statement(name: str = "prod", **more: Any) -> bytes:
    subject = evidence.about_bundle("m", "sha256:" + "ab" * 32)
    return json.dumps(evidence.statement(subject, "smoke_test", "passed", workspace=name, started=evidence.now(), **more)).encode()


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"_type": 1, "_type": 2}', statement().replace(b'"passed"', b'"PASSED"')],
)
def test_what_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(Refusal, match="what is signed is no statement"):
        signing.statement(payload)


def test_a_statement_counts_only_by_a_key_of_its_own_workspace(files: Any, by_one: Signer, by_other: Signer) -> None:
    for name, pair in (("dev", ONE), ("prod", OTHER)):
        pem = pair[1].replace("\n", "\n      ").rstrip()
        files.write(f".cloud/workspaces/{name}.yml", (files.folder / f".cloud/workspaces/{name}.yml").read_text() +
                    f"signing:\n  trusted:\n    - |\n      {pem}\n")  # fmt: skip
    assert signing.verified(by_one.envelope(statement("dev")), files.folder)["predicate"]["workspace"] == "dev"
    assert signing.verified(by_other.envelope(statement("prod")), files.folder)["predicate"]["workspace"] == "prod"
    with pytest.raises(Refusal, match="signed by the key of workspace dev"):
        signing.verified(by_one.envelope(statement("prod")), files.folder)
    with pytest.raises(Refusal, match="signed by the key of workspace dev"):
        signing.verified(by_one.envelope(statement("elsewhere")), files.folder)
    key = "\n".join(["signing:", "  key: https://kv.vault.azure.net/keys/a b", "  trusted: [nonsense]"])
    files.write(".cloud/workspaces/dev.yml", (files.folder / ".cloud/workspaces/dev.yml").read_text().partition("signing")[0] + key)
    with pytest.raises(Refusal, match="2 problems"):
        workspace.load(files.folder, "dev")


def test_a_key_that_is_none_is_told_with_its_place(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\n      AAAA\n      -----END PUBLIC KEY-----"
    text = (files.folder / ".cloud/workspaces/dev.yml").read_text()
    files.write(".cloud/workspaces/dev.yml", f"{text}signing:\n  trusted:\n    - |\n      {pem}\n")
    with pytest.raises(Refusal):
        workspace.load(files.folder, "dev")
    said = capsys.readouterr().err
    assert f"dev.yml:{len(text.splitlines()) + 3}:7" in said
    assert "expected a public key of the curve P-256, found that it cannot be read as one" in said
