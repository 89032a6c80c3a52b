"""Give a project its emulated dev and prod: what a platform team does once on Azure, from the project's own workspace specs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from _gate import APPROVER, OWNER, PEOPLE, address
from aml import gates, roles
from aml.access import ENVIRONMENTS, QUOTA_ACTIONS, QUOTA_READER, SIGN_ACTIONS, SIGNER, held
from aml.audit import GRAPH
from emulator import cli
from emulator.client import Administrator

REPOSITORY = "contoso/flight-delay"
AZURE_DEVOPS = {"organization": "contoso", "project": "mlops"}
REGISTRY_GROUP = "rg-ml-shared"

QUOTA_ROLE_ID = "9c0a0000-0000-4000-8000-00000000a0a1"
AUDIT_ROLE_ID = "9c0a0000-0000-4000-8000-00000000a0a2"
SIGN_ROLE_ID = "9c0a0000-0000-4000-8000-00000000a0a3"
KEY = "evidence"


def provision(home: Path, project: Path, location: str = "westeurope") -> None:
    """Workspaces, compute, the registry, and for each workspace one identity with its service connection; whatever exists stays as it is.

    The identity trusts the workspace's environment on GitHub and its service connection on Azure DevOps. Both systems get the environments
    that the project's gates name, protected as written.
    """
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((project / ".cloud" / "workspaces").glob("*.yml"))]
    clusters = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((project / ".cloud" / "compute").glob("*.yml"))]
    admin = Administrator(home)
    quota_reader(admin, specs[0]["subscription_id"])
    access_auditor(admin, specs[0]["subscription_id"])
    evidence_signer(admin, specs[0]["subscription_id"])
    with ThreadPoolExecutor() as pool:
        registries = {
            name: pool.submit(Administrator(home).registry, name, REGISTRY_GROUP, location) for name in {s["registry_name"] for s in specs}
        }
        made = list(pool.map(lambda spec: _workspace(Administrator(home), spec, clusters, location), specs))
    for spec, workspace in zip(specs, made, strict=True):
        scopes = {
            "subscription": f"/subscriptions/{spec['subscription_id']}",
            "workspace": workspace["id"],
            "storage": workspace["properties"]["storageAccount"],
            "registry": registries[spec["registry_name"]].result(),
            "vault": workspace["properties"]["keyVault"],
        }
        signing_key(home, scopes["vault"])
        environment = ENVIRONMENTS[spec["stage"]]
        names = {"name": f"azureml-{environment}", "client_id": spec["client_id"], "tenant_id": spec["tenant_id"]}
        connection = admin.azure_devops("connections", **AZURE_DEVOPS, **names)
        parameters = connection["authorization"]["parameters"]
        body = {
            "name": f"{spec['workspace_name']}-ci",
            "client_id": spec["client_id"],
            "federated": [
                ["https://token.actions.githubusercontent.com", f"repo:{REPOSITORY}:environment:{environment}"],
                [parameters["workloadIdentityFederationIssuer"], parameters["workloadIdentityFederationSubject"]],
            ],
            "roles": [{"role": role, "scope": scopes[where]} for role, where, _ in held(spec["stage"])],
            "graph": [*GRAPH] if spec["stage"] == "prod" else [],  # what an audit asks of the directory
        }
        cli.request(home, "POST", "/identities", body)
    if (project / gates.FILE).exists():
        environments(home, project, admin)


def environments(home: Path, project: Path, admin: Administrator) -> None:
    """The project's place on GitHub and on Azure DevOps with those who approve, and its environments, protected as its gates say."""
    team = yaml.safe_load((project / gates.FILE).read_text(encoding="utf-8"))["gates"][0]["reviewers"]["teams"][0]
    people(admin, team)
    # An internal repository is one of GitHub Enterprise, where environments are enforced.
    repository = {"full_name": REPOSITORY, "visibility": "internal", "teams": {team: "pull"}}
    cli.request(home, "POST", "/github", {"repositories": [repository]})
    github = cli.request(home, "POST", "/github/tokens", {"login": OWNER})["token"]
    azure_devops = admin.azure_devops("tokens", user=address(OWNER))["token"]
    with ThreadPoolExecutor() as pool:
        done = [
            pool.submit(_apply_gates, home, project, "AML_REPOSITORY", REPOSITORY, "GH_TOKEN", github),
            pool.submit(
                _apply_gates, home, project, "AML_AZURE_DEVOPS", "https://dev.azure.com/{organization}/{project}".format(**AZURE_DEVOPS),
                "AZURE_DEVOPS_EXT_PAT", azure_devops,
            ),
        ]  # fmt: skip
    for one in done:
        one.result()


def people(admin: Administrator, team: str = "release-managers", approvers: Sequence[str] = (APPROVER,)) -> None:
    """Who there is on both systems, each with an address, and who of them is in the team that approves."""
    organization = {
        "login": REPOSITORY.partition("/")[0],
        "owners": [OWNER],
        "members": [login for login in PEOPLE if login != OWNER],
        "teams": [{"slug": team, "members": [*approvers]}],
    }
    users = [{"login": login, "name": name, "email": address(login)} for login, name in PEOPLE.items()]
    cli.request(admin.home, "POST", "/github", {"users": users, "organizations": [organization]})
    groups = {team: [*approvers], "Project Administrators": [OWNER]}
    admin.azure_devops(
        "identities", **AZURE_DEVOPS, names=[*map(address, PEOPLE)],
        groups={f"[{AZURE_DEVOPS['project']}]\\{name}": [*map(address, members)] for name, members in groups.items()},
    )  # fmt: skip


def _apply_gates(home: Path, project: Path, place: str, name: str, variable: str, token: str) -> None:
    """As a platform team does it: the verb, on a machine of their own, with a token of theirs."""
    verb = [sys.executable, str(Path(__file__).with_name("apply_gates.py")), f"--project={project}"]
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "SYSTEM_", "AML_"))}
    env = {**mine, **cli.environment(home), place: name, variable: token}
    done = subprocess.run(verb, env=env, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise cli.Problem(f"apply_gates: {done.stdout}{done.stderr}")


def quota_reader(admin: Administrator, subscription: str) -> None:
    """A role of our own: reading a region's VM sizes and quota, which Azure keeps at the subscription."""
    _role(admin, subscription, QUOTA_ROLE_ID, QUOTA_READER, "Read VM sizes and quota of Azure Machine Learning.", QUOTA_ACTIONS)


def access_auditor(admin: Administrator, subscription: str) -> None:
    """A role of our own: reading who holds which role, and which keys are accepted."""
    _role(admin, subscription, AUDIT_ROLE_ID, roles.AUDITOR, roles.AUDITS, roles.AUDIT_ACTIONS)


def evidence_signer(admin: Administrator, subscription: str) -> None:
    """A role of our own: signing with a key of a vault, and nothing else of it."""
    _role(admin, subscription, SIGN_ROLE_ID, SIGNER, "Sign with a key of a vault.", [], SIGN_ACTIONS)


def signing_key(home: Path, vault: str) -> dict[str, str]:
    """The key that signs in a workspace, in its vault: `key`, its address, and `public`, as PEM.

    Anybody can make it again, from the vault's name, so that the specs in the repository can pin it. A real one is made in its vault and
    never leaves it.
    """
    name = vault.rpartition("/")[2]
    seed = hashlib.sha256(f"no secret: the example's key in {name}".encode()).hexdigest()
    private = ec.derive_private_key(int(seed, 16), ec.SECP256R1())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    made = cli.request(home, "POST", "/keyvault/keys", {"vault": name, "name": KEY, "version": seed[:32], "private": pem})
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"key": str(made["kid"]), "public": public.decode()}


def _role(
    admin: Administrator, subscription: str, id: str, name: str, description: str, actions: list[str], data_actions: Sequence[str] = ()
) -> None:
    scope = f"/subscriptions/{subscription}"
    properties = {
        "roleName": name, "type": "CustomRole", "description": description,
        "permissions": [{"actions": actions, "notActions": [], "dataActions": [*data_actions], "notDataActions": []}],
        "assignableScopes": [scope],
    }  # fmt: skip
    admin.arm("PUT", f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}", {"properties": properties})


def _workspace(admin: Administrator, spec: dict[str, Any], clusters: list[dict[str, Any]], location: str) -> dict[str, Any]:
    made = admin.workspace(spec["workspace_name"], spec["resource_group"], location)
    if spec["stage"] != "prod":  # nothing is trained in production
        for cluster in clusters:
            admin.compute(made["id"], cluster["name"], cluster["size"], cluster["max_instances"], cluster.get("min_instances", 0), location)
    return made
