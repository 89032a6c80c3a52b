"""How an application proves who it is: a secret, an assertion signed with its certificate, or an assertion of an issuer it trusts.

Sources: https://learn.microsoft.com/entra/identity-platform/certificate-credentials and
https://learn.microsoft.com/entra/workload-id/workload-identity-federation. Federated subjects are compared with case; what a flexible
credential refuses is refused in the same words.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from emulator.azure_devops import connections as azure_devops
from emulator.azure_devops import models as azure_devops_models
from emulator.core import TENANT
from emulator.entra import exceptions, flexible, models
from emulator.github import models as github

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SKEW = dt.timedelta(minutes=5)
"""How far clocks may differ before an assertion counts as not yet valid."""
AUDIENCES = {
    *(f"https://login.microsoftonline.com/{TENANT}{path}" for path in ("", "/", "/v2.0", "/oauth2/token", "/oauth2/v2.0/token")),
    models.ISSUER,
}


def authenticate(cloud: Cloud, client_id: str, form: Mapping[str, str], basic: str | None = None) -> str:
    """Check the credential in a token request; the ``appidacr`` of the token to issue. Raises EntraError.

    ``basic`` is a secret that came in the Authorization header instead of the form.
    """
    app = models.application(cloud, client_id)
    if app is None:
        raise exceptions.unknown_application(client_id, models.TENANT_NAME)
    assertion, secret = form.get("client_assertion"), form.get("client_secret") or basic
    if assertion:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise exceptions.missing_parameter("client_assertion_type")
        _check_assertion(cloud, app, assertion)
    elif secret:
        _check_secret(cloud, app, secret)
    else:
        raise exceptions.no_credential()
    principal = models.service_principal(cloud, client_id)
    if principal is None:
        raise exceptions.no_service_principal(client_id, TENANT)
    if not principal["accountEnabled"]:
        raise exceptions.disabled_application(client_id, app["displayName"])
    return "2" if assertion else "1"


def trust_issuer(cloud: Cloud, issuer: str, keys: Document) -> None:
    """Make the keys (a JWKS) of an issuer known that the emulator does not play itself."""
    cloud.store.put(f"entra/issuers/{issuer}", "oidc_issuer", {"issuer": issuer, "keys": keys})


def _check_secret(cloud: Cloud, app: Document, secret: str) -> None:
    entry = models.matching_secret(app, secret)
    if entry is None:
        raise exceptions.bad_secret(app["appId"])
    if _moment(entry["endDateTime"]) <= cloud.now():
        raise exceptions.expired_secret(app["appId"])


def _check_assertion(cloud: Cloud, app: Document, assertion: str) -> None:
    try:
        header = jwt.get_unverified_header(assertion)
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise exceptions.malformed_assertion() from None
    if claims.get("iss") == app["appId"]:
        _check_certificate_assertion(cloud, app, assertion, header, claims)
    else:
        _check_federated_assertion(cloud, app, assertion, header, claims)


def _check_certificate_assertion(cloud: Cloud, app: Document, assertion: str, header: Document, claims: Document) -> None:
    certificate, thumbprint = _named_certificate(app, header)
    if certificate is None:
        raise exceptions.unknown_certificate(app["appId"], thumbprint)
    try:
        jwt.decode(assertion, certificate.public_key(), algorithms=["RS256", "PS256"], options=_SIGNATURE_ONLY)  # type: ignore[arg-type]
    except jwt.InvalidTokenError:
        raise exceptions.bad_signature() from None
    if not certificate.not_valid_before_utc <= cloud.now() <= certificate.not_valid_after_utc:
        raise exceptions.expired_certificate(thumbprint, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    _check_time(cloud, claims)
    if not set(_listed(claims.get("aud"))) & AUDIENCES:
        raise exceptions.wrong_assertion_audience()
    if claims.get("sub") != app["appId"]:
        raise exceptions.malformed_assertion()


def _named_certificate(app: Document, header: Document) -> tuple[x509.Certificate | None, str]:
    """The registered certificate that an assertion's header names, and the thumbprint by which it does."""
    thumbprint = str(header.get("kid", "")).upper()
    for name, algorithm in (("x5t", hashes.SHA1()), ("x5t#S256", hashes.SHA256())):
        if name not in header:
            continue
        try:
            thumbprint = base64.urlsafe_b64decode(header[name] + "==").hex().upper()
        except (binascii.Error, TypeError):
            raise exceptions.malformed_assertion() from None
        for entry in app["keyCredentials"]:
            certificate = x509.load_der_x509_certificate(base64.b64decode(entry["key"]))
            if certificate.fingerprint(algorithm).hex().upper() == thumbprint:
                return certificate, thumbprint
    return None, thumbprint


def _check_federated_assertion(cloud: Cloud, app: Document, assertion: str, header: Document, claims: Document) -> None:
    issuer, subject, audiences = str(claims.get("iss", "")), str(claims.get("sub", "")), _listed(claims.get("aud"))
    if issuer == models.ISSUER_V2:
        audiences = [models.EXCHANGE_AUDIENCE if one == models.EXCHANGE_APPLICATION else one for one in audiences]
    trusted = [one for one in app["federatedIdentityCredentials"] if one["issuer"].rstrip("/") == issuer.rstrip("/")]
    if not trusted:
        raise exceptions.no_issuer_match(issuer)
    named = [one for one in trusted if flexible.accepts(one, claims)]
    if not named:
        raise exceptions.no_subject_match(subject, any((one["subject"] or "").lower() == subject.lower() for one in trusted))
    if not any(set(audiences) & set(one["audiences"]) for one in named):
        raise exceptions.no_audience_match(" ".join(audiences))
    keys = _keys(cloud, issuer)
    if keys is None:
        raise exceptions.unreachable_issuer(issuer)
    jwk = next((key for key in keys["keys"] if key.get("kid") == header.get("kid")), None)
    try:
        if jwk is None:
            raise jwt.InvalidKeyError
        jwt.decode(assertion, jwt.PyJWK(jwk).key, algorithms=["RS256", "ES256", "PS256"], options=_SIGNATURE_ONLY)
    except (jwt.InvalidTokenError, jwt.PyJWKError, jwt.InvalidKeyError):
        raise exceptions.bad_signature() from None
    _check_time(cloud, claims)


def _keys(cloud: Cloud, issuer: str) -> Document | None:
    """The JWKS of an issuer: those the emulator plays itself, and those it was told of."""
    if issuer == github.ISSUER:
        return github.jwks(cloud)
    if issuer in (models.ISSUER, models.ISSUER_V2):
        return {"keys": [models.entra_key(cloud).jwk()]}
    if issuer.startswith(azure_devops.OWN_ISSUER + "/"):
        return {"keys": [azure_devops_models.key(cloud).jwk()]}
    known = cloud.store.get(f"entra/issuers/{issuer}")
    return known["keys"] if known else None


def _check_time(cloud: Cloud, claims: Document) -> None:
    now = cloud.now()
    try:
        start = dt.datetime.fromtimestamp(float(claims.get("nbf", 0)), dt.timezone.utc)
        end = dt.datetime.fromtimestamp(float(claims["exp"]), dt.timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise exceptions.malformed_assertion() from None
    if end <= now or start > now + SKEW:
        raise exceptions.assertion_out_of_time(now, start, end)


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)


_SIGNATURE_ONLY: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_iss": False}
