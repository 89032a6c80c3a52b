"""Entra ID against azure-identity and msal as they are, and against its documented refusals."""

from __future__ import annotations

import base64
import datetime as dt
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential, ClientSecretCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT, Cloud
from emulator.entra import models, proof
from emulator.entra.exceptions import EntraError
from emulator.entra.signing import signing_key
from emulator.errors import AzureError
from emulator.github import models as github

ARM_SCOPE = "https://management.azure.com/.default"
TOKEN = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
SUBSCRIPTIONS = "https://management.azure.com/subscriptions"


def certificate(name: str = "test", days: tuple[int, int] = (-1, 30)) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, both PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0])).not_valid_after(now + dt.timedelta(days=days[1])).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), private


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


# --- real clients ----------------------------------------------------------------------------------------------------------------


def test_client_secret_credential_gets_a_token_that_arm_takes(azure: Any, send: Any) -> None:
    credential = ClientSecretCredential(TENANT, ADMIN_CLIENT_ID, azure.env["AZURE_CLIENT_SECRET"])
    token = credential.get_token(ARM_SCOPE).token
    said = claims(token)
    assert {name: said[name] for name in ("aud", "iss", "appid", "tid", "idtyp", "appidacr", "ver")} == {
        "aud": "https://management.azure.com",
        "iss": f"https://sts.windows.net/{TENANT}/",
        "appid": ADMIN_CLIENT_ID,
        "tid": TENANT,
        "idtyp": "app",
        "appidacr": "1",
        "ver": "1.0",
    }
    assert said["oid"] == said["sub"] != ADMIN_CLIENT_ID
    answer = send("GET", SUBSCRIPTIONS, token=token, version="2022-12-01")
    assert [each["subscriptionId"] for each in answer.json()["value"]] == [SUBSCRIPTION]


def test_tokens_are_signed_by_the_published_keys(azure: Any, send: Any, sign_in: Callable[..., str]) -> None:
    for version, keys in (("/v2.0", "/discovery/v2.0/keys"), ("", "/discovery/keys")):
        found = send("GET", f"https://login.microsoftonline.com/{TENANT}{version}/.well-known/openid-configuration").json()
        assert found["jwks_uri"] == f"https://login.microsoftonline.com/{TENANT}{keys}"
        jwk = send("GET", found["jwks_uri"]).json()["keys"][0]
        token = sign_in()
        assert jwt.get_unverified_header(token)["kid"] == jwk["kid"]
        jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=["RS256"], audience="https://management.azure.com")


def test_instance_discovery_names_the_host_that_clients_ask_for(send: Any) -> None:
    found = send("GET", "https://login.microsoftonline.com/common/discovery/instance", params={"api-version": "1.1"}).json()
    assert found["metadata"][0]["preferred_network"] == "login.microsoftonline.com"


@pytest.mark.parametrize("chain", [False, True], ids=["thumbprint", "with its chain"])
def test_certificate_credential(azure: Any, graph: Any, new_app: Any, tmp_path: Path, chain: bool) -> None:
    app, (public, private) = new_app("by certificate"), certificate()
    der = x509.load_pem_x509_certificate(public).public_bytes(serialization.Encoding.DER)
    entry = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode(), "displayName": "CN=test"}
    graph("PATCH", f"/applications/{app['id']}", {"keyCredentials": [entry]})
    file = tmp_path / "certificate.pem"
    file.write_bytes(private + public)
    credential = CertificateCredential(TENANT, app["appId"], str(file), send_certificate_chain=chain)
    said = claims(credential.get_token(ARM_SCOPE).token)
    assert (said["appid"], said["appidacr"]) == (app["appId"], "2")

    other = tmp_path / "other.pem"
    other.write_bytes(b"".join(reversed(certificate())))
    with pytest.raises(ClientAuthenticationError, match=r"AADSTS700027.*not registered"):
        CertificateCredential(TENANT, app["appId"], str(other)).get_token(ARM_SCOPE)


def test_client_assertion_credential_with_githubs_tokens_asks_for_a_fresh_one_at_each_refresh(
    azure: Any, graph: Any, new_app: Any, send: Any
) -> None:
    app = new_app("federated")
    subject = "repo:contoso/flight-delay:environment:production"
    federated = {"name": "production", "issuer": github.ISSUER, "subject": subject, "audiences": [models.EXCHANGE_AUDIENCE]}
    graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", federated)
    asked = []

    def assertion() -> str:
        query = {"repository": "contoso/flight-delay", "environment": "production", "audience": models.EXCHANGE_AUDIENCE}
        asked.append(send("GET", github.REQUEST_URL, token="act", params=query).json()["value"])
        return str(asked[-1])

    credential = ClientAssertionCredential(TENANT, app["appId"], assertion)
    azure.set("token_lifetime", 0)  # every token is old when it comes
    try:
        first, second = credential.get_token(ARM_SCOPE).token, credential.get_token(ARM_SCOPE).token
    finally:
        azure.set("token_lifetime", 3600)
    assert first != second
    assert len({claims(each)["jti"] for each in asked}) == 2
    assert claims(second)["appid"] == app["appId"]


def test_a_person_signs_in_with_a_password_and_stays_signed_in(graph: Any, send: Any) -> None:
    import msal

    name = f"dana-{uuid.uuid4().hex[:6]}@{models.TENANT_DOMAIN}"
    graph("POST", "/users", {"userPrincipalName": name, "displayName": "Dana", "passwordProfile": {"password": "s3cret of dana"}})
    client = msal.PublicClientApplication(models.AZURE_CLI, authority=f"https://login.microsoftonline.com/{TENANT}")
    scopes = ["https://management.core.windows.net//.default"]
    signed_in = client.acquire_token_by_username_password(name, "s3cret of dana", scopes)
    said = claims(signed_in["access_token"])
    assert (said["idtyp"], said["upn"], said["aud"]) == ("user", name, "https://management.core.windows.net/")
    (account,) = client.get_accounts(name)
    again = client.acquire_token_silent(["https://graph.microsoft.com/.default"], account)
    assert claims(again["access_token"])["oid"] == said["oid"]
    assert send("GET", "https://graph.microsoft.com/v1.0/me", token=again["access_token"]).json()["userPrincipalName"] == name
    wrong = client.acquire_token_by_username_password(name, "guess", scopes)
    assert wrong["error"] == "invalid_grant"
    assert wrong["error_codes"] == [50126]


# --- what is refused, and how ----------------------------------------------------------------------------------------------------


def test_a_refusal_has_entras_shape(send: Any) -> None:
    answer = send(
        "POST", TOKEN, data={"grant_type": "client_credentials", "client_id": ADMIN_CLIENT_ID, "client_secret": "x", "scope": ARM_SCOPE}
    )
    body = answer.json()
    assert answer.status_code == 401
    assert list(body) == ["error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"]
    assert (body["error"], body["error_codes"]) == ("invalid_client", [7000215])
    assert body["error_uri"] == "https://login.microsoftonline.com/error?code=7000215"
    assert re.fullmatch(
        r"AADSTS7000215: Invalid client secret provided\. Ensure the secret being sent in the request is the client secret value, "
        rf"not the client secret ID, for a secret added to app '{ADMIN_CLIENT_ID}'\. Trace ID: \S+ Correlation ID: \S+ Timestamp: \S+ \S+Z",
        body["error_description"],
    )


@pytest.mark.parametrize(
    ("change", "status", "error", "code"),
    [
        ({"client_id": "00000000-0000-4000-8000-000000000bad"}, 400, "unauthorized_client", 700016),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "https://management.azure.com/user_impersonation"}, 400, "invalid_scope", 1002012),
        ({"scope": "https://api.contoso.com/.default"}, 400, "invalid_resource", 500011),
        ({"client_assertion": "x"}, 400, "invalid_request", 900144),
        ({"client_assertion": "no.jwt.at-all", "client_assertion_type": proof.ASSERTION_TYPE}, 400, "invalid_request", 50027),
    ],
)
def test_token_requests_that_are_refused(azure: Any, send: Any, change: dict[str, str], status: int, error: str, code: int) -> None:
    secret = azure.env["AZURE_CLIENT_SECRET"]
    form = {"grant_type": "client_credentials", "client_id": ADMIN_CLIENT_ID, "client_secret": secret, "scope": ARM_SCOPE, **change}
    answer = send("POST", TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (status, error, [code])


def test_tenants(azure: Any, send: Any) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": ADMIN_CLIENT_ID,
        "client_secret": azure.env["AZURE_CLIENT_SECRET"],
        "scope": ARM_SCOPE,
    }
    by_domain = send("POST", f"https://login.microsoftonline.com/{models.TENANT_DOMAIN}/oauth2/v2.0/token", data=form)
    assert by_domain.status_code == 200
    organizations = send("POST", "https://login.microsoftonline.com/organizations/oauth2/v2.0/token", data=form)
    assert organizations.json()["error_codes"] == [50059]
    with pytest.raises(ClientAuthenticationError, match="double check your tenant name"):
        ClientSecretCredential("00000000-0000-4000-8000-0000000000aa", ADMIN_CLIENT_ID, "x").get_token(ARM_SCOPE)


def test_the_v1_endpoint_and_basic_authentication(azure: Any, send: Any) -> None:
    answer = send(
        "POST",
        f"https://login.microsoftonline.com/{TENANT}/oauth2/token",
        data={"grant_type": "client_credentials", "resource": "https://management.core.windows.net/"},
        auth=(ADMIN_CLIENT_ID, azure.env["AZURE_CLIENT_SECRET"]),
    ).json()
    assert (answer["expires_in"], answer["resource"]) == ("3600", "https://management.core.windows.net/")
    assert claims(answer["access_token"])["aud"] == "https://management.core.windows.net/"


def test_what_arm_says_to_bad_tokens(azure: Any, send: Any, sign_in: Callable[..., str]) -> None:
    def refusal(**how: Any) -> tuple[str, str, str]:
        answer = send("GET", SUBSCRIPTIONS, version="2022-12-01", **how)
        assert answer.status_code == 401
        return answer.json()["error"]["code"], answer.json()["error"]["message"], answer.headers["WWW-Authenticate"]

    code, message, challenge = refusal()
    assert (code, message) == ("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    assert challenge.startswith(f'Bearer authorization_uri="https://login.windows.net/{TENANT}", error="invalid_token"')
    assert refusal(headers={"Authorization": "Basic eDp5"})[0] == "AuthenticationFailed"
    assert refusal(token="garbage")[:2] == ("InvalidAuthenticationToken", "The access token is invalid.")
    good = sign_in()
    assert refusal(token=good[:-4] + "AAAA")[0] == "InvalidAuthenticationToken"
    _, private = certificate()
    assert refusal(token=jwt.encode(claims(good), private, algorithm="RS256"))[0] == "InvalidAuthenticationToken"
    code, message, _ = refusal(token=sign_in("https://graph.microsoft.com/.default"))
    assert code == "InvalidAuthenticationTokenAudience"
    assert "wrong audience or resource 'https://graph.microsoft.com'" in message
    azure.set("token_lifetime", -10)
    try:
        expired = sign_in()
    finally:
        azure.set("token_lifetime", 3600)
    code, message, _ = refusal(token=expired)
    assert code == "ExpiredAuthenticationToken"
    moment = r"'\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M'"
    assert re.fullmatch(rf"The access token expiry UTC time {moment} is earlier than current UTC time {moment}\.", message)


def test_a_token_outlives_a_restart(own_emulator: Any) -> None:
    from emulator import cli

    def client() -> requests.Session:
        session, env = requests.Session(), cli.environment(own_emulator.home)
        session.trust_env, session.proxies, session.verify = False, {"https": env["HTTPS_PROXY"]}, env["REQUESTS_CA_BUNDLE"]
        return session

    secret = own_emulator.env["AZURE_CLIENT_SECRET"]
    form = {"grant_type": "client_credentials", "client_id": ADMIN_CLIENT_ID, "scope": ARM_SCOPE, "client_secret": secret}
    with client() as session:
        token = session.post(TOKEN, data=form, timeout=60).json()["access_token"]
    own_emulator.stop()
    cli.start(own_emulator.home, port=0, lifetime=120)
    try:
        with client() as session:
            answer = session.get(
                SUBSCRIPTIONS, params={"api-version": "2022-12-01"}, headers={"Authorization": f"Bearer {token}"}, timeout=60
            )
            assert answer.status_code == 200
    finally:
        cli.stop(own_emulator.home)


# --- proving who one is, with a clock that can be moved --------------------------------------------------------------------------


@pytest.fixture
def app(cloud: Cloud) -> dict[str, Any]:
    return models.create_application(cloud, "an application", secret="the secret")


def refusal(cloud: Cloud, client_id: str, **form: str) -> EntraError:
    if "client_assertion" in form:
        form["client_assertion_type"] = proof.ASSERTION_TYPE
    with pytest.raises(EntraError) as caught:
        proof.authenticate(cloud, client_id, form)
    return caught.value


def job_token(cloud: Cloud, audience: str = models.EXCHANGE_AUDIENCE, **job: str) -> str:
    return github.token(cloud, {"repository": "contoso/flight-delay", **job}, audience)


def test_secrets_expire_and_several_can_hold(cloud: Cloud, app: dict[str, Any]) -> None:
    client = app["appId"]
    models.add_secret(cloud, client, "short", end=models.stamp(cloud.now() + dt.timedelta(hours=1)))
    assert (
        proof.authenticate(cloud, client, {"client_secret": "short"})
        == proof.authenticate(cloud, client, {"client_secret": "the secret"})
        == "1"
    )
    cloud.skew = dt.timedelta(hours=2)
    assert refusal(cloud, client, client_secret="short").number == 7000222
    assert proof.authenticate(cloud, client, {"client_secret": "the secret"}) == "1"
    assert refusal(cloud, client, client_secret="The secret").number == 7000215


def test_secrets_are_not_kept_in_the_state(cloud: Cloud, app: dict[str, Any]) -> None:
    cloud.store.close()
    kept = b"".join(file.read_bytes() for file in cloud.home.rglob("*") if file.is_file())
    assert b"an application" in kept
    assert b"the secret" not in kept


@pytest.mark.parametrize(
    ("environment", "issuer", "audience", "number", "says"),
    [
        ("production", github.ISSUER, models.EXCHANGE_AUDIENCE, 0, ""),
        ("dev", github.ISSUER, models.EXCHANGE_AUDIENCE, 700213, "subject 'repo:contoso/flight-delay:environment:dev'"),
        ("Production", github.ISSUER, models.EXCHANGE_AUDIENCE, 7002138, "but not with case-sensitive comparison"),
        ("production", "https://token.example.com", models.EXCHANGE_AUDIENCE, 700211, f"issuer '{github.ISSUER}'"),
        ("production", github.ISSUER, "https://github.com/contoso", 700212, "audience 'https://github.com/contoso'"),
    ],
)
def test_federated_credentials_match_issuer_subject_and_audience(
    cloud: Cloud, app: dict[str, Any], environment: str, issuer: str, audience: str, number: int, says: str
) -> None:
    models.add_federated_credential(cloud, app, issuer, "repo:contoso/flight-delay:environment:production")
    assertion = job_token(cloud, audience, environment=environment)
    form = {"client_assertion": assertion, "client_assertion_type": proof.ASSERTION_TYPE}
    if not number:
        assert proof.authenticate(cloud, app["appId"], form) == "2"
        return
    error = refusal(cloud, app["appId"], client_assertion=assertion)
    assert (error.number, error.code, error.status) == (number, "invalid_client", 401)
    assert says in error.message
    assert error.body()["error_description"].startswith(
        f"AADSTS{number}: No matching federated identity record found for presented assertion "
    )


def test_an_assertion_expires_after_five_minutes(cloud: Cloud, app: dict[str, Any]) -> None:
    models.add_federated_credential(cloud, app, github.ISSUER, "repo:contoso/flight-delay:ref:refs/heads/main")
    assertion = job_token(cloud)
    cloud.skew = dt.timedelta(minutes=4, seconds=50)
    proof.authenticate(cloud, app["appId"], {"client_assertion": assertion, "client_assertion_type": proof.ASSERTION_TYPE})
    cloud.skew = dt.timedelta(minutes=5, seconds=1)
    error = refusal(cloud, app["appId"], client_assertion=assertion)
    assert (error.number, error.code) == (700024, "invalid_client")
    assert re.match(
        r"Client assertion is not within its valid time range\. Current time: \S+Z, assertion valid from \S+Z, "
        r"expiry time of assertion \S+Z\. Review",
        error.message,
    )


def test_forged_assertions(cloud: Cloud, app: dict[str, Any]) -> None:
    models.add_federated_credential(cloud, app, github.ISSUER, "repo:contoso/flight-delay:ref:refs/heads/main")
    models.add_federated_credential(cloud, app, "https://oidc.example.com", "somebody")
    said = claims(job_token(cloud))
    _, private = certificate()
    kid = signing_key(cloud, "github").kid
    assert refusal(cloud, app["appId"], client_assertion=jwt.encode(said, private, algorithm="RS256")).number == 700027
    assert (
        refusal(cloud, app["appId"], client_assertion=jwt.encode(said, private, algorithm="RS256", headers={"kid": kid})).number == 700027
    )
    assert refusal(cloud, app["appId"], client_assertion=jwt.encode(said, "", algorithm="none", headers={"kid": kid})).number == 700027
    elsewhere = {**said, "iss": "https://oidc.example.com", "sub": "somebody"}
    assert refusal(cloud, app["appId"], client_assertion=jwt.encode(elsewhere, private, algorithm="RS256")).number == 50166
    key = signing_key(cloud, "example")
    proof.trust_issuer(cloud, "https://oidc.example.com", {"keys": [key.jwk()]})
    assert (
        proof.authenticate(cloud, app["appId"], {"client_assertion": key.sign(elsewhere), "client_assertion_type": proof.ASSERTION_TYPE})
        == "2"
    )


def test_certificate_assertions(cloud: Cloud, app: dict[str, Any]) -> None:
    import msal

    public, private = certificate()
    models.add_certificate(cloud, app["appId"], public + private)
    thumbprint = x509.load_pem_x509_certificate(public).fingerprint(hashes.SHA1()).hex()

    def assertion(**more: Any) -> str:
        said = {"aud": TOKEN, "iss": app["appId"], "sub": app["appId"], "nbf": time.time(), "exp": time.time() + 600, **more}
        creator = msal.oauth2cli.JwtSigner(private.decode(), "RS256", sha1_thumbprint=thumbprint)
        return jwt.encode(said, private, algorithm="RS256", headers=creator.headers)

    good = {"client_assertion": assertion(), "client_assertion_type": proof.ASSERTION_TYPE}
    assert proof.authenticate(cloud, app["appId"], good) == "2"
    assert refusal(cloud, app["appId"], client_assertion=assertion(aud="https://login.example.com")).number == 700023
    assert refusal(cloud, app["appId"], client_assertion=assertion(exp=time.time() - 1)).number == 700024
    assert refusal(cloud, app["appId"], client_assertion=good["client_assertion"][:-4] + "AAAA").number == 700027
    cloud.skew = dt.timedelta(days=31)
    expired = refusal(cloud, app["appId"], client_assertion=good["client_assertion"])
    assert expired.number == 700027
    assert "The key used is expired" in expired.message


def test_applications_without_or_with_a_disabled_service_principal(cloud: Cloud, app: dict[str, Any]) -> None:
    principal = models.service_principal(cloud, app["appId"])
    assert principal is not None
    cloud.store.put(f"entra/service_principals/{principal['id']}", "service_principal", {**principal, "accountEnabled": False})
    assert refusal(cloud, app["appId"], client_secret="the secret").number == 7000112
    cloud.store.delete(f"entra/service_principals/{principal['id']}")
    assert refusal(cloud, app["appId"], client_secret="the secret").number == 7000229


def test_making_the_same_application_again_changes_nothing(cloud: Cloud, app: dict[str, Any]) -> None:
    assert models.create_application(cloud, "another name", client_id=app["appId"], secret="the secret") == app
    issuer, subject = github.ISSUER, "repo:contoso/flight-delay:environment:dev"
    first = models.add_federated_credential(cloud, app, issuer, subject)
    assert models.add_federated_credential(cloud, app["appId"], issuer, subject) == first


def test_an_application_has_at_most_twenty_federated_credentials(cloud: Cloud, app: dict[str, Any]) -> None:
    for number in range(20):
        models.add_federated_credential(cloud, app, github.ISSUER, f"repo:contoso/flight-delay:environment:e{number}")
    with pytest.raises(AzureError, match="at most 20"):
        models.add_federated_credential(cloud, app, github.ISSUER, "repo:contoso/flight-delay:environment:e20")


def test_tokens_for_people_and_managed_identities(cloud: Cloud) -> None:
    person = models.create_user(cloud, f"sam@{models.TENANT_DOMAIN}", "Sam")
    said = models.validate(cloud, models.issue(cloud, person["id"], "https://management.azure.com"), "management.azure.com")
    assert (said.kind, said.oid, said.claims["upn"]) == ("user", person["id"], person["userPrincipalName"])
    identity = models.create_managed_identity(cloud, "mlw", "/subscriptions/s/resourceGroups/g/providers/x/y/mlw")
    assert models.create_managed_identity(cloud, "mlw", "/subscriptions/S/resourceGroups/g/providers/x/y/mlw") == identity
    said = models.validate(cloud, models.issue(cloud, identity["principalId"], "https://ml.azure.com", 5), "westeurope.api.azureml.ms")
    assert (said.kind, said.app_id) == ("app", identity["clientId"])
    with pytest.raises(LookupError, match="neither a service principal nor a user"):
        models.issue(cloud, "nobody", "https://ml.azure.com")


def test_a_token_expires_by_the_clouds_clock(cloud: Cloud, app: dict[str, Any]) -> None:
    token = models.issue(cloud, app["appId"], "https://management.azure.com", lifetime=60)
    assert models.validate(cloud, token).app_id == app["appId"]
    cloud.skew = dt.timedelta(seconds=61)
    with pytest.raises(AzureError, match="The access token expiry UTC time"):
        models.validate(cloud, token)
