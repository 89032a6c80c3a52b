"""Key Vault: secrets, keys that sign, and who may use them."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT

ROOT = Path(__file__).resolve().parents[2]
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-vaults"
TEXT = b"what is signed"
DIGEST = hashlib.sha256(TEXT).digest()


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def vault(azure: Any) -> str:
    """The ARM id of a new vault; the administrator may do everything with what is in it."""
    id = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv-{uuid.uuid4().hex[:10]}"
    azure.arm("PUT", GROUP, {"location": "westeurope"})
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    azure.arm("PUT", id, {"location": "westeurope", "properties": properties})
    give(azure, id, owner(azure), "00482a5a-887f-4fb3-b363-3b7fe8e74483")
    return id


def owner(azure: Any) -> str:
    """The object id of the administrator."""
    found = azure.arm("GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01")
    return next(
        str(one["properties"]["principalId"])
        for one in found["value"]
        if one["properties"]["roleDefinitionId"].endswith("8e3af657-a8ff-443c-a75c-2fe8c4bcb635")
    )


def give(azure: Any, scope: str, oid: str, role: str) -> None:
    body = {"properties": {"roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role}", "principalId": oid}}
    azure.arm("PUT", f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", body)


@pytest.fixture
def ask(send: Any, sign_in: Callable[..., str], vault: str) -> Callable[..., Any]:
    """A request to the vault's data plane, as the administrator or as an application."""
    base = f"https://{vault.rsplit('/', 1)[-1]}.vault.azure.net"

    def ask(method: str, path: str, body: Any = None, who: Any = None, version: str | None = "7.5", **params: str) -> Any:
        scope = "https://vault.azure.net/.default"
        token = sign_in(scope, who["appId"], who["secret"]) if who else sign_in(scope)
        url = path if path.startswith("https:") else base + path
        return send(method, url, token=token, version=version, json=body, params=params)

    return ask


def error(answer: Any) -> tuple[int, str, str]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body.get("innererror", {}).get("code", "")


# --- who may -----------------------------------------------------------------------------------------------------------------------


def test_the_challenge_that_clients_begin_with(send: Any, vault: str, sign_in: Any, azure: Any) -> None:
    name = vault.rsplit("/", 1)[-1]
    answer = send("GET", f"https://{name}.vault.azure.net/secrets/one", version="7.5")
    assert error(answer) == (401, "Unauthorized", "")
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net"'
    )
    for token in ("forged", sign_in()):
        answer = send("GET", f"https://{name}.vault.azure.net/secrets/one", token=token, version="7.5")
        assert error(answer) == (401, "Unauthorized", "")
        assert "resource=" in answer.headers["WWW-Authenticate"]
    assert "Invalid audience" in answer.json()["error"]["message"]
    nowhere = send(
        "GET", "https://kv-nowhere.vault.azure.net/secrets/one", token=sign_in("https://vault.azure.net/.default"), version="7.5"
    )
    assert error(nowhere)[:2] == (404, "VaultNotFound")


def test_versions_of_the_api(ask: Any) -> None:
    assert error(ask("GET", "/secrets", version=None)) == (400, "BadParameter", "")
    assert error(ask("GET", "/secrets", version="2024-01-01")) == (400, "BadParameter", "")
    for version in ("2016-10-01", "7.0", "7.6", "2025-07-01"):
        assert ask("GET", "/secrets", version=version).status_code == 200


def test_roles(ask: Any, azure: Any, vault: str, new_app: Any) -> None:
    app = new_app("signer")
    ask("POST", "/keys/release/create", {"kty": "EC"})
    ask("PUT", "/secrets/one", {"value": "1"})
    kid = ask("GET", "/keys/release").json()["key"]["kid"]
    refused = ask("POST", f"{kid}/sign", {"alg": "ES256", "value": url64(DIGEST)}, who=app)
    assert error(refused) == (403, "Forbidden", "ForbiddenByRbac")
    message = refused.json()["error"]["message"]
    assert "Action: 'Microsoft.KeyVault/vaults/keys/sign/action'" in message
    assert f"Resource: '{vault.lower()}/keys/release'" in message
    assert f"oid={app['oid']}" in message
    give(azure, f"{vault}/keys/release", app["oid"], "12338af0-0e69-4776-bea7-57ae8d297424")
    assert ask("POST", f"{kid}/sign", {"alg": "ES256", "value": url64(DIGEST)}, who=app).status_code == 200, "a role at one key"
    assert error(ask("POST", "/keys/other/create", {"kty": "EC"}, who=app))[2] == "ForbiddenByRbac"
    assert error(ask("GET", "/secrets/one", who=app))[2] == "ForbiddenByRbac"
    give(azure, vault, app["oid"], "4633458b-17de-408a-b874-0445c86b69e6")
    assert ask("GET", "/secrets/one", who=app).json()["value"] == "1"
    assert error(ask("PUT", "/secrets/one", {"value": "2"}, who=app))[2] == "ForbiddenByRbac"


def test_owning_the_vault_opens_nothing_in_it(ask: Any, azure: Any, vault: str, new_app: Any) -> None:
    app = new_app("vault owner")
    give(azure, vault, app["oid"], "8e3af657-a8ff-443c-a75c-2fe8c4bcb635")
    assert error(ask("GET", "/secrets", who=app)) == (403, "Forbidden", "ForbiddenByRbac")


def test_access_policies(ask: Any, azure: Any, vault: str, new_app: Any, graph: Any) -> None:
    app, other = new_app("by policy"), new_app("by group")
    team = graph("POST", "/groups", {"displayName": "t", "mailNickname": "t", "mailEnabled": False, "securityEnabled": True})
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['oid']}"}
    graph("POST", f"/groups/{team['id']}/members/$ref", reference)
    ask("PUT", "/secrets/one", {"value": "1"})
    policies = [
        {"tenantId": TENANT, "objectId": app["oid"], "permissions": {"secrets": ["Get"], "keys": []}},
        {"tenantId": TENANT, "objectId": team["id"], "permissions": {"secrets": ["all"]}},
    ]
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": False}
    azure.arm("PUT", vault, {"location": "westeurope", "properties": {**properties, "accessPolicies": policies}})
    assert ask("GET", "/secrets/one", who=app).json()["value"] == "1"
    refused = ask("GET", "/secrets", who=app)
    assert error(refused) == (403, "Forbidden", "AccessDenied")
    assert "does not have secrets list permission on key vault" in refused.json()["error"]["message"]
    assert ask("PUT", "/secrets/one", {"value": "2"}, who=other).status_code == 200
    assert error(ask("GET", "/secrets/one"))[2] == "AccessDenied", "roles count for nothing here"


# --- secrets ---------------------------------------------------------------------------------------------------------------------


def test_secrets(ask: Any, vault: str) -> None:
    first = ask("PUT", "/secrets/password", {"value": "one", "tags": {"for": "test"}, "contentType": "text/plain"}).json()
    second = ask("PUT", "/secrets/password", {"value": "two"}).json()
    base = f"https://{vault.rsplit('/', 1)[-1]}.vault.azure.net"
    assert first["id"].startswith(f"{base}/secrets/password/")
    assert first["attributes"]["recoveryLevel"] == "Recoverable+Purgeable"
    assert ask("GET", "/secrets/password").json() == second
    assert ask("GET", first["id"]).json()["value"] == "one"
    (listed,) = ask("GET", "/secrets").json()["value"]
    assert (listed["id"], "value" in listed) == (f"{base}/secrets/password", False)
    assert [each["id"] for each in ask("GET", "/secrets/password/versions").json()["value"]] == [first["id"], second["id"]]
    assert ask("GET", "/secrets/nothing/versions").json()["value"] == []
    off = ask("PATCH", second["id"], {"attributes": {"enabled": False}})
    assert off.json()["attributes"]["enabled"] is False
    assert error(ask("GET", "/secrets/password")) == (403, "Forbidden", "SecretDisabled")
    assert error(ask("GET", "/secrets/nothing")) == (404, "SecretNotFound", "")
    assert error(ask("GET", f"/secrets/password/{'0' * 32}")) == (404, "SecretNotFound", "")
    assert error(ask("PUT", "/secrets/under_score", {"value": "x"})) == (400, "BadParameter", "")
    assert error(ask("PUT", "/secrets/empty", {})) == (400, "BadParameter", "")
    assert error(ask("PUT", "/secrets/long", {"value": "x" * 25_601})) == (400, "BadParameter", "")


def test_deleted_secrets(ask: Any, azure: Any, vault: str) -> None:
    ask("PUT", "/secrets/gone", {"value": "one"})
    deleted = ask("DELETE", "/secrets/gone").json()
    assert deleted["scheduledPurgeDate"] - deleted["deletedDate"] == 90 * 86_400
    assert error(ask("GET", "/secrets/gone")) == (404, "SecretNotFound", "")
    assert error(ask("PUT", "/secrets/gone", {"value": "two"})) == (409, "Conflict", "ObjectIsDeletedButRecoverable")
    assert "value" not in ask("GET", "/deletedsecrets/gone").json()
    assert ask("POST", "/deletedsecrets/gone/recover").status_code == 200
    assert ask("GET", "/secrets/gone").json()["value"] == "one"
    ask("DELETE", "/secrets/gone")
    assert ask("DELETE", "/deletedsecrets/gone").status_code == 204
    assert ask("PUT", "/secrets/gone", {"value": "two"}).status_code == 200


def test_lists_have_pages(ask: Any) -> None:
    for number in range(5):
        ask("PUT", f"/secrets/s{number}", {"value": str(number)})
    names, answer = [], ask("GET", "/secrets", maxresults="2").json()
    while True:
        names += [each["id"].rsplit("/", 1)[-1] for each in answer["value"]]
        if not answer["nextLink"]:
            break
        answer = ask("GET", answer["nextLink"], version=None).json()
    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert error(ask("GET", "/secrets", maxresults="26")) == (400, "BadParameter", "")


def test_a_vault_takes_what_is_in_it_along(ask: Any, azure: Any, vault: str) -> None:
    ask("PUT", "/secrets/one", {"value": "1"})
    found = azure.arm("GET", vault)
    assert found["properties"]["vaultUri"] == f"https://{vault.rsplit('/', 1)[-1]}.vault.azure.net/"
    assert vault in [one["id"] for one in azure.arm("GET", f"{GROUP}/providers/Microsoft.KeyVault/vaults")["value"]]
    azure.arm("DELETE", vault)
    assert error(ask("GET", "/secrets/one"))[:2] == (404, "VaultNotFound")
    azure.arm("PUT", vault, {"location": "westeurope", "properties": found["properties"]})
    give(azure, vault, owner(azure), "00482a5a-887f-4fb3-b363-3b7fe8e74483")
    assert ask("GET", "/secrets").json()["value"] == []


# --- keys ------------------------------------------------------------------------------------------------------------------------


def test_an_elliptic_curve_key_signs(ask: Any) -> None:
    made = ask("POST", "/keys/release/create", {"kty": "EC", "crv": "P-256", "key_ops": ["sign", "verify"]}).json()
    key = made["key"]
    assert (key["kty"], key["crv"], key["key_ops"]) == ("EC", "P-256", ["sign", "verify"])
    assert "private" not in str(made)
    assert "d" not in key
    signed = ask("POST", f"{key['kid']}/sign", {"alg": "ES256", "value": url64(DIGEST)}).json()
    assert signed["kid"] == key["kid"]
    signature = raw(signed["value"])
    assert len(signature) == 64, "r and s side by side"
    public = ec.EllipticCurvePublicNumbers(
        int.from_bytes(raw(key["x"]), "big"), int.from_bytes(raw(key["y"]), "big"), ec.SECP256R1()
    ).public_key()
    whole = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    public.verify(whole, TEXT, ec.ECDSA(hashes.SHA256()))
    body = {"alg": "ES256", "digest": url64(DIGEST), "value": signed["value"]}
    assert ask("POST", f"{key['kid']}/verify", body).json() == {"value": True}
    other = url64(hashlib.sha256(b"something else").digest())
    assert ask("POST", f"{key['kid']}/verify", {**body, "digest": other}).json() == {"value": False}
    assert ask("POST", f"{key['kid']}/verify", {**body, "value": url64(b"short")}).json() == {"value": False}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_rsa_key_signs(ask: Any, algorithm: str) -> None:
    key = ask("POST", "/keys/rsa/create", {"kty": "RSA", "key_size": 2048}).json()["key"]
    signature = raw(ask("POST", f"{key['kid']}/sign", {"alg": algorithm, "value": url64(DIGEST)}).json()["value"])
    public = rsa.RSAPublicNumbers(int.from_bytes(raw(key["e"]), "big"), int.from_bytes(raw(key["n"]), "big")).public_key()
    scheme = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public.verify(signature, TEXT, scheme, hashes.SHA256())
    body = {"alg": algorithm, "digest": url64(DIGEST), "value": url64(signature)}
    assert ask("POST", f"{key['kid']}/verify", body).json() == {"value": True}


def test_keys_are_checked(ask: Any) -> None:
    key = ask("POST", "/keys/release/create", {"kty": "EC"}).json()["key"]
    rotated = ask("POST", "/keys/release/create", {"kty": "EC"}).json()["key"]
    assert ask("GET", "/keys/release").json()["key"]["kid"] == rotated["kid"] != key["kid"]
    assert [each["kid"] for each in ask("GET", "/keys/release/versions").json()["value"]] == [key["kid"], rotated["kid"]]
    good = {"alg": "ES256", "value": url64(DIGEST)}
    for body in ({**good, "alg": "RS256"}, {**good, "alg": "ES384"}, {**good, "alg": "none"}, {**good, "value": url64(b"no digest")}, {}):
        assert error(ask("POST", f"{key['kid']}/sign", body)) == (400, "BadParameter", ""), body
    for body in ({}, {"kty": "oct"}, {"kty": "RSA", "key_size": 1024}, {"kty": "EC", "crv": "P-999"}, {"kty": "EC", "key_ops": ["eat"]}):
        assert error(ask("POST", "/keys/bad/create", body)) == (400, "BadParameter", ""), body
    assert error(ask("GET", "/keys/nothing")) == (404, "KeyNotFound", "")
    verifier = ask("POST", "/keys/verifier/create", {"kty": "EC", "key_ops": ["verify"]}).json()["key"]
    assert error(ask("POST", f"{verifier['kid']}/sign", good)) == (403, "Forbidden", "KeyOperationForbidden")
    ask("PATCH", key["kid"], {"attributes": {"enabled": False}})
    assert error(ask("POST", f"{key['kid']}/sign", good)) == (403, "Forbidden", "KeyDisabled")
    old = ask("POST", "/keys/old/create", {"kty": "EC", "attributes": {"exp": 1_600_000_000}}).json()["key"]
    assert error(ask("POST", f"{old['kid']}/sign", good)) == (403, "Forbidden", "KeyExpired")
    early = ask("POST", "/keys/early/create", {"kty": "EC", "attributes": {"nbf": 4_000_000_000}}).json()["key"]
    assert error(ask("POST", f"{early['kid']}/sign", good)) == (403, "Forbidden", "KeyNotYetValid")
    assert {each["kid"].rsplit("/", 1)[-1] for each in ask("GET", "/keys").json()["value"]} == {"release", "verifier", "old", "early"}


CLIENTS = """
import hashlib, sys, time
import requests
from azure.core.credentials import AccessToken
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient

url, client, secret = sys.argv[1:]

class Credential:
    def get_token(self, *scopes, tenant_id, **more):  # the tenant comes from the vault's challenge
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, "scope": scopes[0]}
        answer = requests.post(f"https://login.microsoftonline.com/{tenant_id}/oauth2/v2.0/token", data=form, timeout=60)
        answer.raise_for_status()
        return AccessToken(answer.json()["access_token"], int(time.time()) + 3000)

class Remote:  # else the client signs and verifies by itself what it can
    def supports(self, *words):
        return False

keys, secrets = KeyClient(url, Credential()), SecretClient(url, Credential())
digest = hashlib.sha256(b"text").digest()
for key, algorithm in ((keys.create_ec_key("ec"), SignatureAlgorithm.es256), (keys.create_rsa_key("rsa"), SignatureAlgorithm.rs256)):
    crypto = CryptographyClient(key, Credential())
    crypto._local_provider = Remote()
    signed = crypto.sign(algorithm, digest)
    assert crypto.verify(algorithm, digest, signed.signature).is_valid
    assert not crypto.verify(algorithm, hashlib.sha256(b"other").digest(), signed.signature).is_valid
    assert CryptographyClient.from_jwk(key.key).verify(algorithm, digest, signed.signature).is_valid, "with the public part alone"
assert [one.name for one in keys.list_properties_of_keys()] == ["ec", "rsa"]
secrets.set_secret("password", "one")
secrets.set_secret("password", "two")
assert secrets.get_secret("password").value == "two"
assert len(list(secrets.list_properties_of_secret_versions("password"))) == 2
secrets.begin_delete_secret("password").wait()
secrets.begin_recover_deleted_secret("password").wait()
print("done")
"""


def test_key_vaults_own_clients(azure: Any, vault: str, tmp_path: Path) -> None:
    """The Azure CLI brings them along; the environment of these tests does not have them."""
    python = Path(os.environ.get("AZ_CLI", ROOT / ".venv-az" / "bin" / "az")).parent / "python"
    assert python.exists(), f"the Azure CLI is not at {python.parent}: run 'make install-tests', or say where it is with AZ_CLI"
    env = {**azure.env, "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    words = [str(python), "-c", CLIENTS, f"https://{vault.rsplit('/', 1)[-1]}.vault.azure.net", ADMIN_CLIENT_ID]
    done = subprocess.run([*words, azure.env["AZURE_CLIENT_SECRET"]], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
