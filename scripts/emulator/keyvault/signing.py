"""Keys that sign: how they are made, shown (RFC 7517) and used (RFC 7518).

https://learn.microsoft.com/azure/key-vault/keys/about-keys-details: a service signs a digest, never the text; a signature of an
elliptic curve key is r and s side by side.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from emulator.entra.signing import base64url
from emulator.keyvault.errors import bad_parameter

Document = dict[str, Any]
OPERATIONS = ["sign", "verify", "wrapKey", "unwrapKey", "encrypt", "decrypt", "import", "export"]
_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVE_OF = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def create(body: Document) -> Document:
    """A key of the kind that is asked for: ``kty`` RSA or EC, ``key_size``, ``crv``, ``key_ops``. Raises Key Vault's 400."""
    kind = str(body.get("kty") or "")
    if not kind:
        raise bad_parameter("Property kty is required and cannot be null or empty.")
    if kind.removesuffix("-HSM") not in ("RSA", "EC"):
        raise bad_parameter(f"Property kty has an unsupported value: {kind}. The emulator makes RSA and EC keys.")
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind.startswith("RSA"):
        size = body.get("key_size") or 2048
        if size not in (2048, 3072, 4096):
            raise bad_parameter(f"Property key_size has an invalid value: {size}. Valid values are 2048, 3072 and 4096.")
        private, operations = rsa.generate_private_key(public_exponent=65537, key_size=size), OPERATIONS[:6]
    else:
        curve = body.get("crv") or "P-256"
        if curve not in _CURVES:
            raise bad_parameter(f"Property crv has an unsupported value: {curve}. Valid values are {', '.join(_CURVES)}.")
        private, operations = ec.generate_private_key(_CURVES[curve]()), ["sign", "verify"]
    wanted = body.get("key_ops") or operations
    if unknown := [each for each in wanted if each not in OPERATIONS]:
        raise bad_parameter(f"Property key_ops has an invalid value: {unknown[0]}.")
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"kty": kind, "key_ops": wanted, "private": pem.decode()}


def known(pem: str) -> Document:
    """A P-256 key that somebody has, as `create` makes one. Raises ValueError for anything else."""
    private = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("a private key of the curve P-256 is expected")
    return {"kty": "EC", "key_ops": ["sign", "verify"], "private": pem}


def _load(found: Document) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(found["private"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return key


def public(found: Document) -> Document:
    """What everybody may know of a key."""
    key = _load(found)
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"n": _bytes(numbers.n, (numbers.n.bit_length() + 7) // 8), "e": _bytes(numbers.e, (numbers.e.bit_length() + 7) // 8)}
    point, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    curve = next(name for name, type in _CURVES.items() if isinstance(key.curve, type))
    return {"crv": curve, "x": _bytes(point.x, size), "y": _bytes(point.y, size)}


def _bytes(number: int, size: int) -> str:
    return base64url(number.to_bytes(size, "big"))


def sign(found: Document, kid: str, algorithm: str, value: Any) -> str:
    """The signature of a digest, base64url."""
    key, hash, digest = _prepared(found, kid, algorithm, value, "value")
    if isinstance(key, rsa.RSAPrivateKey):
        return base64url(key.sign(digest, _padding(algorithm, hash), Prehashed(hash)))
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hash))))
    size = (key.curve.key_size + 7) // 8
    return base64url(r.to_bytes(size, "big") + s.to_bytes(size, "big"))


def verify(found: Document, kid: str, algorithm: str, digest: Any, signature: Any) -> bool:
    """Whether a signature is this key's, of this digest."""
    key, hash, raw = _prepared(found, kid, algorithm, digest, "digest")
    given = _decoded(signature, "value")
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            key.public_key().verify(given, raw, _padding(algorithm, hash), Prehashed(hash))
        else:
            half = (key.curve.key_size + 7) // 8
            if len(given) != 2 * half:
                return False
            whole = encode_dss_signature(int.from_bytes(given[:half], "big"), int.from_bytes(given[half:], "big"))
            key.public_key().verify(whole, raw, ec.ECDSA(Prehashed(hash)))
    except InvalidSignature:
        return False
    return True


def _prepared(
    found: Document, kid: str, algorithm: str, value: Any, name: str
) -> tuple[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, hashes.HashAlgorithm, bytes]:
    """Key, hash and digest that belong together. Raises Key Vault's 400."""
    family, hash = algorithm[:2], _HASHES.get(algorithm[2:])
    if family not in ("RS", "PS", "ES") or hash is None:
        raise bad_parameter(f"Property alg has an unsupported value: {algorithm}.")
    wanted = "EC" if family == "ES" else "RSA"
    if found["kty"].removesuffix("-HSM") != wanted:
        raise bad_parameter(
            f"Key and signing algorithm are incompatible. Key {kid} is of type '{found['kty']}', and algorithm '{algorithm}' can only be "
            f"used with a key of type '{wanted}' or '{wanted}-HSM'."
        )
    if wanted == "EC" and public(found)["crv"] != _CURVE_OF[algorithm]:
        raise bad_parameter(f"Key and signing algorithm are incompatible. Algorithm '{algorithm}' needs curve '{_CURVE_OF[algorithm]}'.")
    digest = _decoded(value, name)
    if len(digest) != hash.digest_size:
        raise bad_parameter(f"Invalid length of '{name}': {len(digest)} bytes. Hash must be {hash.digest_size} bytes.")
    return _load(found), hash, digest


def _padding(algorithm: str, hash: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    return padding.PSS(padding.MGF1(hash), hash.digest_size) if algorithm.startswith("PS") else padding.PKCS1v15()


def _decoded(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or not value:
        raise bad_parameter(f"Property {name} is required and cannot be null or empty.")
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        raise bad_parameter(f"Property {name} is not base64url.") from None
