"""Signed statements: DSSE envelopes, signed with a workspace's key and verified with the public keys that its spec pins.

Sources: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md (what is signed, and that a keyid is only a hint);
"Sign" in the Key Vault REST reference and "Key types, algorithms, and operations" (learn.microsoft.com/azure/key-vault/keys): a vault
signs a digest and gives r and s of an ES256 signature side by side (RFC 7518, 3.4). In an envelope they are ASN.1 DER, which is what other
tools for DSSE read (sigstore, securesystemslib, model-signing).

Of the key nothing but `sign` is asked: whoever may only sign can neither read a key, nor replace it by one of their own, nor let it
expire. Which key it was that signed, the pinned public keys tell.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aml import ci, spec, workspace
from aml.command import Refusal
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

STATEMENT = "application/vnd.in-toto+json"
VAULT_SCOPE = "https://vault.azure.net/.default"
VAULT_API = "7.4"
LOCAL = "AML_SIGNING_KEY_PATH"

Envelope = dict[str, Any]
Sign = Callable[[bytes], bytes]  # a message; its ES256 signature, r and s side by side


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload, each with its length, so that neither can be taken for a part of the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Key:
    """A public key that a workspace trusts. `id` is the sha256 of its SubjectPublicKeyInfo in DER."""

    id: str
    public: EllipticCurvePublicKey

    def pem(self) -> bytes:
        """The key as PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return bytes(self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def made(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature (ASN.1 DER) of the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            self.public.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def key(pem: str) -> Key:
    """The public key of a PEM text. Raises ValueError for anything but one of the curve P-256, which is what ES256 means."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(pem.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it cannot be read as one") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("it is of another kind or curve")
    return Key(_id(public), public)


def trusted(at: Workspace) -> list[Key]:
    """The public keys that sign for a workspace, as its spec pins them. Raises Refusal if it pins none."""
    if not at.signing:
        raise Refusal(
            f"workspace {at.name} has no signing keys",
            "what happens there can't be signed, nor a signature be checked",
            f"add signing, with the vault's key and its public key, to .cloud/workspaces/{at.name}.yml",
        )
    return [key(pem) for pem in at.signing["trusted"]]


@dataclass(frozen=True)
class Signer:
    """What signs for a workspace: `sign` makes signatures, `keys` are those that its spec pins."""

    keys: list[Key]
    sign: Sign
    source: str

    def signature(self, message: bytes) -> dict[str, str]:
        """One signature as an envelope has it, made just now and checked. Raises Refusal when none of the pinned keys made it."""
        made = _der(self.sign(message))
        for one in self.keys:
            if one.made(made, message):
                return {"keyid": one.id, "sig": base64.b64encode(made).decode()}
        raise Refusal(
            f"{self.source} signs, and its public key is not among those that the workspace spec pins",
            "the key was renewed or replaced, or another one was named",
            "if it was renewed on purpose, add its public key to signing.trusted in a reviewed commit, and keep the old one beside it",
        )

    def envelope(self, payload: bytes, payload_type: str = STATEMENT) -> Envelope:
        """The payload, signed."""
        return wrapped(payload, payload_type, [self.signature(pae(payload_type, payload))])


def wrapped(payload: bytes, payload_type: str, signatures: list[dict[str, str]]) -> Envelope:
    """The envelope of a payload and its signatures."""
    return {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}


def signer(at: Workspace, credential: TokenCredential) -> Signer:
    """What signs for a workspace: its spec's key in a vault, or else the private key at AML_SIGNING_KEY_PATH, with a warning."""
    keys, address = trusted(at), at.signing.get("key", "")
    if address:
        return Signer(keys, _vault(address, credential), f"key {address}")
    if path := ci.setting(LOCAL):
        ci.warning(f"Signing with the private key {path}. A file can be copied; a key in a vault can't.")
        return Signer(keys, _local(Path(path)), f"the private key {path}")
    raise Refusal(
        f"there is no key to sign with for workspace {at.name}",
        f"its spec names none in a vault, and {LOCAL} is not set",
        f"set signing.key in .cloud/workspaces/{at.name}.yml; on a machine of your own, name a private key's PEM file in {LOCAL}",
    )


def _vault(address: str, credential: TokenCredential) -> Sign:
    from azure.core.exceptions import HttpResponseError

    from aml import azure

    host, _, path = address.removeprefix("https://").partition("/")
    client = azure.Client(f"https://{host}", credential, api_version=VAULT_API, scope=VAULT_SCOPE)

    def sign(message: bytes) -> bytes:
        body = {"alg": "ES256", "value": _url64(hashlib.sha256(message).digest())}
        try:
            made = client.post(f"{path}/sign", body)
        except HttpResponseError as error:
            if error.status_code not in (400, 403, 404):
                raise
            why, fix = f"The vault answered {error.status_code}, {azure.said(error)}", "give it an enabled P-256 key that may sign"
            if error.status_code == 403:
                fix = f"assign the workspace's principal a role with Microsoft.KeyVault/vaults/keys/sign/action at {address}, and no more"
            raise Refusal(f"{address} does not sign", why, fix) from error
        return base64.urlsafe_b64decode(str(made["value"]) + "==")

    return sign


def _local(path: Path) -> Sign:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    fix = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes one"
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise Refusal(f"the private key {path} cannot be read", error.strerror or str(error), f"correct {LOCAL}; {fix}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refusal(f"{path} is no private key that can be used", "it is no PEM, or has a password", fix) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise Refusal(f"{path} is a key of another kind", "ES256 needs one of the curve P-256", fix)

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def verify(envelope: Any, keys: Iterable[Key], others: Mapping[str, Iterable[Key]] | None = None, payload_type: str = STATEMENT) -> bytes:
    """The payload of an envelope that one of `keys` signed. `others` are keys by whose they are, to tell of a signature by one of them.

    Raises Refusal, each fault in words of its own: another form, another type of payload, unsigned, altered, signed by a key that is
    trusted for something else, signed by a key that is not known.
    """
    if not isinstance(envelope, dict) or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise Refusal("this is no signed envelope", "it has not payload, payloadType and signatures, and nothing else", _AGAIN)
    if envelope["payloadType"] != payload_type:
        other = spec.described(envelope["payloadType"])
        raise Refusal(f"the envelope holds {other}, not {payload_type}", "what was signed as one thing is no proof of another", _AGAIN)
    try:
        payload = base64.b64decode(envelope["payload"].encode("ascii"), validate=True)
        found = [(str(one.get("keyid", "")), base64.b64decode(one["sig"], validate=True)) for one in envelope["signatures"]]
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Refusal("the envelope cannot be read", f"payload or signatures are not base64 as DSSE has it ({error})", _AGAIN) from None
    keys, message = list(keys), pae(payload_type, payload)
    if not found:
        raise Refusal("it is not signed", "the envelope has no signature", "have record_evidence sign it, in the job that found it out")
    if any(one.made(signature, message) for one in keys for _, signature in found):
        return payload
    for whose, theirs in (others or {}).items():
        if any(one.made(signature, message) for one in theirs for _, signature in found):
            why = f"it was signed again, or is shown for what it is not: {whose}'s key is not trusted for this"
            raise Refusal(f"it is signed by the key of {whose}", why, _AGAIN)
    if known := [name for name, _ in found if name in {one.id for one in keys}]:
        why = f"what was signed was altered, or another key signed it under the name of {known[0][:16]}"
        raise Refusal("its signature does not fit it", why, _AGAIN)
    names = ", ".join(ci.plain(name)[:16] or "one without a name" for name, _ in found)
    fix = "find out whose key it is; one that was renewed on purpose is added to signing.trusted in a reviewed commit"
    raise Refusal(f"it is signed by a key that is not trusted ({names})", "the workspace spec does not pin it", fix)


_AGAIN = "find out who wrote it; take the evidence of the job's own artifact, or run the job again"


def statement(payload: bytes) -> dict[str, Any]:
    """The statement in a payload. Raises Refusal if it is none, or one that could be read in two ways (a key that is there twice)."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("it has a key twice")
        return found

    def no(word: str) -> None:
        raise ValueError(f"it has {word}, which JSON has not")

    try:
        document = json.loads(payload, object_pairs_hook=once, parse_constant=no)
    except (ValueError, RecursionError) as error:
        raise Refusal("what is signed is no statement", str(error), _AGAIN) from None
    if problems := spec.invalid(document, "evidence"):
        raise Refusal("what is signed is no statement of this catalog", "; ".join(problems[:3]), _AGAIN)
    return document  # type: ignore[no-any-return]


def verified(envelope: Any, project: Path) -> dict[str, Any]:
    """The statement of an envelope that was signed by a key of the very workspace that it says it is of.

    Keys come from the project's own specs. Raises Refusal, as `verify` does.
    """
    specs = {name: workspace.load(project, name) for name in workspace.names(project)}
    keys = {name: trusted(at) for name, at in specs.items() if at.signing}
    everybody = [one for found in keys.values() for one in found]
    found = statement(verify(envelope, everybody))
    name = found["predicate"]["workspace"]
    verify(envelope, keys.get(name, []), {f"workspace {other}": theirs for other, theirs in keys.items() if other != name})
    return found


def signed_path(path: Path) -> Path:
    """Where the signed form of a statement's file is: `<name>.dsse.json` beside it."""
    return path.with_suffix(".dsse.json")


def _id(public: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _der(pair: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(pair) != 64:
        raise Refusal(f"the signature has {len(pair)} bytes, not 64", "ES256 gives r and s of 32 bytes each", "sign with a P-256 key")
    return bytes(encode_dss_signature(int.from_bytes(pair[:32], "big"), int.from_bytes(pair[32:], "big")))


def _url64(data: bytes) -> str:
    return re.sub("=+$", "", base64.urlsafe_b64encode(data).decode())
