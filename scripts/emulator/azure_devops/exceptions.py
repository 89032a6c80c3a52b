"""What Azure DevOps answers when it refuses: a serialised exception, with the type that its clients look at.

The shape (``$id``, ``typeKey``, ``eventId`` and the rest) and most texts are answers of the service as users quote them: a version
in dotnet/arcade-services#1141, a connection in MicrosoftDocs/azure-devops-docs#4711, a connection that the job does not name in
dotnet/docker-tools#2012. Texts of orchestration and of API versions are those of the sources that Microsoft publishes
(microsoft/azure-pipelines-agent, actions/runner). What the service says of an approval that is not the caller's to give could not be
found; those sentences are the emulator's own.
"""

from __future__ import annotations

from typing import Any

from emulator.errors import AzureError

_WEB_API = "Microsoft.VisualStudio.Services.WebApi"
_TASKS = "Microsoft.TeamFoundation.DistributedTask.WebApi"
_ENDPOINTS = "Microsoft.VisualStudio.Services.ServiceEndpoints.WebApi"
_APPROVALS = "Microsoft.Azure.Pipelines.Approval.WebApi"
_GIT = "Microsoft.TeamFoundation.Git.Server"
_CHECKS = "Microsoft.Azure.Pipelines.Checks.WebApi"


class DevOpsError(AzureError):
    """A refusal of Azure DevOps: HTTP status, type of the exception, message, and the assembly that the type is from."""

    def __init__(self, status: int, key: str, message: str, assembly: str, namespace: str = "", headers: dict[str, str] | None = None):
        super().__init__(status, key, message, headers=headers)
        self.type_name = f"{namespace or assembly}.{key}, {assembly}"

    def body(self) -> dict[str, Any]:
        return {
            "$id": "1",
            "innerException": None,
            "message": self.message,
            "typeName": self.type_name,
            "typeKey": self.code,
            "errorCode": 0,
            "eventId": 3000,
        }


class NoReference(AzureError):
    """A service connection that no task of the job names. The service sends the bare sentence, counted like a list.

    The text and its frame are those of dotnet/docker-tools#2012, the status that of Teleport's RFD 211.
    """

    def __init__(self, connection: str, job: str) -> None:
        message = f"There is no explicit reference to service connection {connection} from current stage {job}."
        super().__init__(404, "NoExplicitReference", message)

    def body(self) -> dict[str, Any]:
        return {"count": len(self.message), "value": self.message}


# --- who calls, and how ----------------------------------------------------------------------------------------------------------


def unauthorized(user: str = "") -> DevOpsError:
    """401: nobody whom the service knows."""
    return _unauthorized(f"TF400813: The user '{user}' is not authorized to access this resource.")


def bad_token() -> DevOpsError:
    """401: a personal access token that is not, or no longer, one."""
    return _unauthorized(
        "Access Denied: The Personal Access Token used has expired, is invalid, or does not have the necessary permissions."
    )


def _unauthorized(message: str) -> DevOpsError:
    assembly = "Microsoft.TeamFoundation.Framework.Server"
    challenge = {"WWW-Authenticate": 'Basic realm="https://dev.azure.com/"'}
    return DevOpsError(401, "UnauthorizedRequestException", message, assembly, headers=challenge)


def sign_in() -> DevOpsError:
    """302 to the sign-in page, for a caller who did not ask to be spared it (header ``X-TFS-FedAuthRedirect: Suppress``).

    So says the troubleshooting guide of azure-identity for AzurePipelinesCredential.
    """
    found = unauthorized()
    found.status = 302
    found.headers = {"Location": "https://app.vssps.visualstudio.com/_signin?realm=dev.azure.com"}
    return found


def forbidden(who: str, what: str) -> DevOpsError:
    """403: somebody, but not one who may."""
    message = f"Access denied. {who} needs the following permission(s) to perform this action: {what}."
    return DevOpsError(403, "AccessDeniedException", message, "Microsoft.TeamFoundation.Framework.Server")


# --- versions of the API ---------------------------------------------------------------------------------------------------------


def no_version(method: str) -> DevOpsError:
    return _version(
        "VssVersionNotSpecifiedException",
        f'No api-version was supplied for the "{method}" request. The version must be supplied either as part of the Accept header '
        '(e.g. "application/json; api-version=1.0") or as a query parameter (e.g. "?api-version=1.0").',
    )


def malformed_version(version: str) -> DevOpsError:
    return _version(
        "VssInvalidApiResourceVersionException",
        f'Invalid api version string: "{version}". Api version string must be in the format: '
        "{Major}.{Minor}[-preview[.{ResourceVersion}]].",
    )


def preview_version(version: str) -> DevOpsError:
    return _version(
        "VssInvalidPreviewVersionException",
        f'The requested version "{version}" of the resource is under preview. The -preview flag must be supplied in the api-version '
        f'for such requests. For example: "{version}-preview"',
    )


def version_out_of_range(version: str, latest: str) -> DevOpsError:
    return _version(
        "VssVersionOutOfRangeException",
        f"The requested REST API version of {version} is out of range for this server. The latest REST API version this server "
        f"supports is {latest}.",
    )


def _version(key: str, message: str) -> DevOpsError:
    return DevOpsError(400, key, message, _WEB_API)


# --- what is not there -----------------------------------------------------------------------------------------------------------


def no_project(project: str) -> DevOpsError:
    message = f"VS800075: The project with id '{project}' does not exist, or you do not have permission to access it."
    return DevOpsError(404, "ProjectDoesNotExistException", message, "Microsoft.TeamFoundation.Core.WebApi")


def no_plan(plan: str) -> DevOpsError:
    return DevOpsError(404, "TaskOrchestrationPlanNotFoundException", f"No plan found for identifier {plan}.", _TASKS)


def no_job(job: str, plan: str) -> DevOpsError:
    return DevOpsError(404, "TaskOrchestrationJobNotFoundException", f"No job found with identifier '{job}' for plan '{plan}'.", _TASKS)


def no_hub(hub: str) -> DevOpsError:
    return DevOpsError(404, "TaskHubNotFoundException", f"No hub is registered with name {hub}.", _TASKS)


def other_job(who: str, plan: str) -> DevOpsError:
    """403: a job's token is good for that job."""
    message = f"Access denied: {who} does not have write permissions for orchestration plan {plan}."
    return DevOpsError(403, "TaskOrchestrationPlanSecurityException", message, _TASKS)


def no_build(build: str) -> DevOpsError:
    return DevOpsError(
        404,
        "BuildNotFoundException",
        f"The requested build {build} could not be found.",
        "Microsoft.TeamFoundation.Build2.WebApi",
        "Microsoft.TeamFoundation.Build.WebApi",
    )


def no_connection(connection: str) -> DevOpsError:
    return DevOpsError(404, "EndpointNotFoundException", f"No endpoint found with identifier {connection}.", _TASKS)


# --- service connections ---------------------------------------------------------------------------------------------------------


def bad_connection(message: str) -> DevOpsError:
    return DevOpsError(400, "ServiceEndpointException", message, _ENDPOINTS)


def connection_exists(name: str) -> DevOpsError:
    """500, as the service has it (seen in stackspot's runtime and others that look for the type's name)."""
    message = (
        f"Service connection with name {name} already exists. Only a user having Administrator/User role permissions on service "
        f"connection {name} can see it."
    )
    return DevOpsError(500, "DuplicateServiceConnectionException", message, _ENDPOINTS)


# --- approvals -------------------------------------------------------------------------------------------------------------------


def no_approval(approval: str) -> DevOpsError:
    return DevOpsError(404, "ApprovalNotFoundException", f"No approval found with identifier {approval}.", _APPROVALS)


def bad_approval(message: str) -> DevOpsError:
    return DevOpsError(400, "ApprovalInvalidParametersException", message, _APPROVALS)


def no_approval_id() -> DevOpsError:
    return DevOpsError(400, "ApprovalIdNotProvidedException", "The id of an approval must be provided.", _APPROVALS)


def not_an_approver(who: str, approval: str) -> DevOpsError:
    message = f"User {who} is not an approver of approval {approval}, or has decided already."
    return DevOpsError(403, "ApprovalUnauthorizedException", message, _APPROVALS)


def blocked_approver(who: str, approval: str) -> DevOpsError:
    message = f"User {who} may not decide approval {approval}: who requested a run cannot approve it."
    return DevOpsError(403, "ApprovalBlockedException", message, _APPROVALS)


def already_decided(approval: str) -> DevOpsError:
    return DevOpsError(409, "ApprovalAlreadyCompletedException", f"Approval {approval} has already been completed.", _APPROVALS)


def not_administrator(who: str, resource: str) -> DevOpsError:
    """403: a check is for the administrators of its resource to bypass."""
    return DevOpsError(403, "AccessDeniedException", f"Access denied. {who} does not administer {resource}.", _CHECKS)


# --- repositories ----------------------------------------------------------------------------------------------------------------


def no_repository(repository: str) -> DevOpsError:
    message = (
        f"TF401019: The Git repository with name or identifier {repository} does not exist or you do not have permissions for the "
        "operation you are attempting."
    )
    return DevOpsError(404, "GitRepositoryNotFoundException", message, _GIT)


def no_commit(commit: str) -> DevOpsError:
    return DevOpsError(404, "GitCommitDoesNotExistException", f"The commit {commit} does not exist in the repository.", _GIT)


# --- environments and checks -----------------------------------------------------------------------------------------------------


def no_environment(environment: str) -> DevOpsError:
    return DevOpsError(404, "EnvironmentNotFoundException", f"No environment found with identifier {environment}.", _TASKS)


def bad_environment(message: str) -> DevOpsError:
    return DevOpsError(400, "InvalidRequestException", message, _TASKS)


def environment_exists(name: str) -> DevOpsError:
    """The status and the sentence are this emulator's own."""
    return DevOpsError(409, "EnvironmentExistsException", f"Environment {name} already exists in the project.", _TASKS)


def no_check(check: str) -> DevOpsError:
    """The client of terraform-provider-azuredevops looks for these last words."""
    return DevOpsError(404, "CheckConfigurationNotFoundException", f"Check configuration with id {check} does not exist.", _CHECKS)


def bad_check(message: str) -> DevOpsError:
    return DevOpsError(400, "InvalidCheckConfigurationException", message, _CHECKS)
