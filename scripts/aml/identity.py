"""Who acts: a service principal, signed in without secrets where the CI system allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def sign_in(workspace: Workspace, *, writes: bool = True) -> TokenCredential:
    """A credential for the workspace's own principal, with a first token fetched and its claims checked.

    GitHub: a fresh OIDC assertion at each refresh. Azure DevOps: AzurePipelinesCredential. Otherwise AZURE_CLIENT_SECRET or
    AZURE_CLIENT_CERTIFICATE_PATH, with a warning; otherwise the person who is signed in with the Azure CLI.
    A person is refused where `writes`, unless the spec says `people: allowed`; a token of another tenant or client always.
    Raises Refusal.
    """
    raise NotImplementedError
