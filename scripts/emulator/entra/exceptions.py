"""The errors of Entra's token endpoint, with their AADSTS numbers.

Texts and shapes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes, and answers of the service quoted in
Azure/login#482, #515, #372 and AzureAD/microsoft-authentication-library-for-java#984.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from emulator.errors import AzureError

FEDERATION_DOC = "https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
CERTIFICATE_DOC = "https://learn.microsoft.com/entra/identity-platform/certificate-credentials"
_HINT = f"Check your federated identity credential Subject, Audience and Issuer against the presented assertion. {FEDERATION_DOC}"


class EntraError(AzureError):
    """A refusal of the token endpoint: an OAuth error with an AADSTS number, in the shape of RFC 6749 section 5.2."""

    def __init__(self, number: int, error: str, message: str, status: int = 400) -> None:
        super().__init__(status, error, message)
        self.number = number

    def body(self) -> dict[str, Any]:
        timestamp = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        return {
            "error": self.code,
            "error_description": f"AADSTS{self.number}: {self.message} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {timestamp}",
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.number}",
        }


def missing_parameter(name: str) -> EntraError:
    return EntraError(900144, "invalid_request", f"The request body must contain the following parameter: '{name}'.")


def no_credential() -> EntraError:
    return EntraError(
        7000218,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        401,
    )


def unsupported_grant(grant: str) -> EntraError:
    return EntraError(70003, "unsupported_grant_type", f"The app requested an unsupported grant type '{grant}'.")


def unknown_tenant(tenant: str, error: str = "invalid_request") -> EntraError:
    return EntraError(
        90002,
        error,
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. "
        "Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
    )


def tenantless() -> EntraError:
    return EntraError(
        50059,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    )


def unknown_application(client_id: str, directory: str) -> EntraError:
    return EntraError(
        700016,
        "unauthorized_client",
        f"Application with identifier '{client_id}' was not found in the directory '{directory}'. This can happen if the application "
        "has not been installed by the administrator of the tenant or consented to by any user in the tenant. "
        "You may have sent your authentication request to the wrong tenant.",
    )


def no_service_principal(client_id: str, tenant: str) -> EntraError:
    return EntraError(
        7000229,
        "unauthorized_client",
        f"The client application {client_id} is missing service principal in the tenant {tenant}. "
        "See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119",
    )


def disabled_application(client_id: str, name: str) -> EntraError:
    return EntraError(7000112, "unauthorized_client", f"Application '{client_id}'({name}) is disabled.")


def bad_secret(client_id: str) -> EntraError:
    return EntraError(
        7000215,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client "
        f"secret ID, for a secret added to app '{client_id}'.",
        401,
    )


def expired_secret(client_id: str) -> EntraError:
    return EntraError(
        7000222,
        "invalid_client",
        f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create new keys for your app: "
        "https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
        401,
    )


def malformed_assertion() -> EntraError:
    return EntraError(50027, "invalid_request", "JWT token is invalid or malformed.")


def unknown_certificate(client_id: str, thumbprint: str) -> EntraError:
    return EntraError(
        700027,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was "
        f"not found., Thumbprint of key used by client: '{thumbprint}', Please visit the Azure Portal, Graph Explorer or directly use "
        f"MS Graph to see configured keys for app Id '{client_id}'.]",
        401,
    )


def bad_signature() -> EntraError:
    return EntraError(700027, "invalid_client", "Client assertion failed signature validation.", 401)


def expired_certificate(thumbprint: str, start: dt.datetime, end: dt.datetime) -> EntraError:
    return EntraError(
        700027,
        "invalid_client",
        "Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint of key used by client: "
        f"'{thumbprint}', Found key 'Start={start:%m/%d/%Y %H:%M:%S}, End={end:%m/%d/%Y %H:%M:%S}']",
        401,
    )


def assertion_out_of_time(now: dt.datetime, start: dt.datetime, end: dt.datetime) -> EntraError:
    stamp = "%Y-%m-%dT%H:%M:%S.%f0Z"
    return EntraError(
        700024,
        "invalid_client",
        f"Client assertion is not within its valid time range. Current time: {now.strftime(stamp)}, assertion valid from "
        f"{start.strftime(stamp)}, expiry time of assertion {end.strftime(stamp)}. Review the documentation at {CERTIFICATE_DOC} .",
        401,
    )


def wrong_assertion_audience() -> EntraError:
    return EntraError(
        700023,
        "invalid_client",
        f"Client assertion audience claim does not match Realm issuer. Review the documentation at {CERTIFICATE_DOC} .",
        401,
    )


def no_issuer_match(issuer: str) -> EntraError:
    return EntraError(
        700211,
        "invalid_client",
        f"No matching federated identity record found for presented assertion issuer '{issuer}'. {_HINT}",
        401,
    )


def no_audience_match(audience: str) -> EntraError:
    return EntraError(
        700212,
        "invalid_client",
        f"No matching federated identity record found for presented assertion audience '{audience}'. {_HINT}",
        401,
    )


def no_subject_match(subject: str, differs_in_case: bool) -> EntraError:
    """The subject is compared with case; Entra says so when case is all that differs (Azure/login#515)."""
    found = f"No matching federated identity record found for presented assertion subject '{subject}'."
    if not differs_in_case:
        return EntraError(700213, "invalid_client", f"{found} {_HINT}", 401)
    return EntraError(
        7002138,
        "invalid_client",
        f"{found} The subject matches with case-insensitive comparison, but not with case-sensitive comparison. Check your federated "
        f"identity credential Subject, Audience and Issuer against the presented assertion. See documentation at: {FEDERATION_DOC}. "
        "See breaking change notification and remediation at: "
        "https://learn.microsoft.com/en-us/entra/identity-platform/reference-breaking-changes#august-2024.",
        401,
    )


def unreachable_issuer(issuer: str) -> EntraError:
    return EntraError(
        50166,
        "invalid_request",
        f"Request to External OIDC endpoint failed. The emulator knows no keys of '{issuer}' and never leaves this machine; "
        "register them with emulator.entra.proof.trust_issuer.",
    )


def bad_scope(scope: str) -> EntraError:
    return EntraError(
        1002012,
        "invalid_scope",
        f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed "
        "to the resource identifier (application ID URI).",
    )


def unknown_resource(resource: str, directory: str) -> EntraError:
    return EntraError(
        500011,
        "invalid_resource",
        f"The resource principal named {resource} was not found in the tenant named {directory}. This can happen if the application "
        "has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent "
        "your authentication request to the wrong tenant.",
    )


def bad_password() -> EntraError:
    return EntraError(50126, "invalid_grant", "Error validating credentials due to invalid username or password.")


def unknown_user(name: str, tenant: str) -> EntraError:
    return EntraError(
        50034,
        "invalid_grant",
        f"The user account {name} does not exist in the {tenant} directory. To sign into this application, the account must be added "
        "to the directory.",
    )


def bad_refresh_token() -> EntraError:
    return EntraError(9002313, "invalid_grant", "Invalid request. Request is malformed or invalid.")
