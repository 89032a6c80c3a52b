"""What an audit of who reaches production can find: its rules, and a single finding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from aml.sarif import Rule

RULES = {
    rule.id: rule
    for rule in (
        Rule(
            "person-write", "error", 9.0, "A person may change production",
            "Whoever can change production by hand can pass by every gate, and no evidence tells of it.",
            "Delete the role assignment, or take the person out of the group that holds it. Let the pipeline do what they did.",
        ),
        Rule(
            "person-data", "error", 8.0, "A person may reach production's data",
            "Models, data and secrets of production are read, or replaced, without a trace in any release.",
            "Delete the role assignment, or take the person out of the group that holds it.",
        ),
        Rule(
            "principal-access", "error", 8.5, "A service principal may do more than the plan says",
            "Whoever can sign in as it can change production, and it is no part of the reviewed plan.",
            "Delete the role assignment; if it is meant, give it a place in the plan's keep, with the reason.",
        ),
        Rule(
            "role-changed", "error", 8.0, "A role of ours allows more than the plan says",
            "Everybody who holds the role has got rights that nobody reviewed.",
            "Apply the plan again, which sets the role to the planned actions.",
        ),
        Rule(
            "application-owner", "error", 9.0, "Somebody owns production's application",
            "An owner can add a credential to the application at any time, and then act in production as the pipeline.",
            "Remove the owner. An application needs none: a directory administrator can always change it.",
        ),
        Rule(
            "client-secret", "error", 8.5, "Production's application has a client secret",
            "A secret can be copied, and works from anywhere, without any gate.",
            "Delete it, and let the pipeline sign in by a federated credential.",
        ),
        Rule(
            "certificate", "error", 7.5, "Production's application has a certificate",
            "Whoever has its key acts in production from anywhere, without any gate.",
            "Delete it, and let the pipeline sign in by a federated credential.",
        ),
        Rule(
            "federated-credential", "error", 9.0, "Production's application trusts somebody who is not in the plan",
            "The jobs that this credential accepts act in production, whatever protects the environment.",
            "Delete the credential, or plan it: plan_identity.",
        ),
        Rule(
            "storage-keys", "error", 7.5, "The storage account accepts its keys",
            "A key opens all of production's data and models to whoever has it, and tells nobody who it was.",
            "Let the workspace's datastores use identities, and disable the keys.",
        ),
        Rule(
            "endpoint-keys", "error", 7.0, "An endpoint accepts a key",
            "A key does not expire, is shared by all who call, and cannot be told from another caller's.",
            "Set auth_mode: aad_token in the endpoint's file, and at the endpoint.",
        ),
        Rule(
            "registry-admin", "error", 7.0, "The container registry has an admin account",
            "Its password lets whoever has it replace the images that production runs.",
            "Disable the admin account; the workspace pulls images by its identity.",
        ),
        Rule(
            "vault-policy", "error", 8.0, "An access policy of the key vault lets somebody in",
            "Access policies stand beside role assignments, and show in none of their lists.",
            "Delete the policy, or better, let roles decide: az keyvault update --enable-rbac-authorization true.",
        ),
        Rule(
            "orphan", "warning", 3.0, "A role is assigned to somebody who is gone",
            "Nobody can use it today, but nobody should have to wonder.",
            "Delete the role assignment.",
        ),
        Rule(
            "not-seen", "error", 6.0, "The audit is incomplete",
            "What can't be read can't be found clean.",
            "Give the auditing application the right that is named, or accept it with allow_incomplete.",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something that should not be. `id` names what it is about, for the plan's `keep` and for fingerprints; `key` is the key of the
    workspace spec that leads there; `accepted` is the reason why it may stay, '' if it may not."""

    rule: str
    id: str
    says: str
    fix: str
    key: str = "workspace_name"
    accepted: str = ""

    @property
    def level(self) -> str:
        """`error`, `warning`, or `none` for what is accepted."""
        return "none" if self.accepted else RULES[self.rule].level

    @property
    def fingerprint(self) -> str:
        """The same for the same thing in every run, whatever it is called and wherever it stands in the file."""
        return hashlib.sha256(f"{self.rule}\0{self.id.lower()}".encode()).hexdigest()
