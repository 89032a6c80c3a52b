"""Variables of a job while it runs, their way into a step's inputs and environment, and the masking of secrets.

https://learn.microsoft.com/azure/devops/pipelines/process/variables; the details are those of microsoft/azure-pipelines-agent
(Variables.cs, Util/VarUtil.cs, ExecutionContext.cs).
"""

from __future__ import annotations

import platform
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_DEEPEST = 50  # macros in macros


class ReadOnly(Exception):
    """A variable that may not be set again."""


@dataclass(frozen=True)
class Variable:
    """One variable. A secret one reaches the environment of a step only where the step's `env` maps it."""

    name: str
    value: str
    secret: bool = False
    readonly: bool = False


class Variables:
    """Variables by name, without case. A value may name others, `$(name)`; they are looked up anew for each step."""

    def __init__(self, known: Iterable[Variable] = ()) -> None:
        self._set = {variable.name.lower(): variable for variable in known}
        self._expanded = dict(self._set)

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._expanded.values())

    def set(self, name: str, value: str, *, secret: bool = False, readonly: bool = False, force: bool = False) -> None:
        """Set one. Raises ReadOnly unless `force`; a secret stays one whatever is set later."""
        known = self._set.get(name.lower())
        if not force:
            self.check(name)
        secret = secret or (known.secret if known else False)
        made = Variable(known.name if known else name, value, secret, readonly or (known.readonly if known else False))
        self._set[name.lower()] = self._expanded[name.lower()] = made

    def check(self, name: str) -> None:
        """Raise ReadOnly if it may not be set again."""
        known = self._set.get(name.lower())
        if known and known.readonly:
            raise ReadOnly(
                f"Overwriting readonly variable '{name}' is not permitted. See "
                "https://github.com/microsoft/azure-pipelines-yaml/blob/master/design/readonly-variables.md for details."
            )

    def get(self, name: str, default: str = "") -> str:
        """A value with the macros in it replaced."""
        found = self._expanded.get(name.lower())
        return found.value if found else default

    def values(self) -> dict[str, Any]:
        """For an expression's `variables`."""
        return {variable.name: variable.value for variable in self}

    def copy(self) -> Variables:
        """The same variables, to go on with elsewhere."""
        return Variables(self._set.values())

    def expand(self) -> list[str]:
        """Replace the macros in all values, before a step. The warnings, for names that go round in a circle."""
        warnings: list[str] = []
        self._expanded = {}
        for key, variable in self._set.items():
            try:
                value, secret = self._resolve(variable.value, variable.secret, [key])
            except RecursionError:
                warnings.append(f"Unable to expand variable '{variable.name}'. A cyclical reference was detected.")
                value, secret = variable.value, variable.secret
            self._expanded[key] = replace(variable, value=value, secret=secret)
        return warnings

    def _resolve(self, text: str, secret: bool, inside: list[str]) -> tuple[str, bool]:
        done, at = "", 0
        while (found := _macro(text, at)) is not None:
            start, end, name = found
            known = self._set.get(name.lower())
            if known is None:
                done, at = done + text[at : start + 1], start + 1
                continue
            if name.lower() in inside or len(inside) >= _DEEPEST:
                raise RecursionError
            value, hidden = self._resolve(known.value, known.secret, [*inside, name.lower()])
            done, at, secret = done + text[at:start] + value, end, secret or hidden
        return done + text[at:], secret

    def macros(self, text: str, other: Mapping[str, str] | None = None) -> str:
        """A text with each `$(name)` replaced, by a variable or else by `other`; an unknown one is left as it is.

        What is put in is not looked at again. The agent looks into its own environment last (TaskRunner.cs).
        """
        done, at = "", 0
        while (found := _macro(text, at)) is not None:
            start, end, name = found
            known = self._expanded.get(name.lower())
            value = known.value if known else (other or {}).get(name)
            if value is None:
                done, at = done + text[at : start + 1], start + 1
            else:
                done, at = done + text[at:start] + value, end
        return done + text[at:]

    def environment(self) -> dict[str, str]:
        """What a step's process sees of them: all but the secrets, in capitals, with `_` for points and spaces."""
        return {environment_name(variable.name): variable.value for variable in self if not variable.secret}


def environment_name(name: str) -> str:
    """`Build.BuildId` as BUILD_BUILDID. A hyphen stays."""
    return name.replace(".", "_").replace(" ", "_").upper()


def _macro(text: str, at: int) -> tuple[int, int, str] | None:
    """Start, end and name of the next `$(name)`."""
    while (start := text.find("$(", at)) >= 0 and (end := text.find(")", start + 2)) >= 0:
        if end > start + 2:
            return start, end + 1, text[start + 2 : end]
        at = start + 1
    return None


class Masker:
    """Puts *** where a secret stands: the secret itself, each of its lines, and how JSON and an address write it."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """Mask it from now on. An empty text is no secret."""
        forms = {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}
        if len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "'\"":
            forms.add(secret[1:-1])
        forms |= {form.replace("\\", "\\\\").replace('"', '\\"') for form in forms}
        forms |= {urllib.parse.quote(form, safe="") for form in forms}
        with self._lock:
            self._secrets = sorted({*self._secrets, *(form for form in forms if form)}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """The text without secrets. Ones that overlap or touch become a single ***."""
        spans: list[tuple[int, int]] = []
        for secret in self._secrets:
            at = text.find(secret)
            while at >= 0:
                spans.append((at, at + len(secret)))
                at = text.find(secret, at + 1)
        if not spans:
            return text
        done, at, last = "", 0, -1
        for start, end in sorted(spans):
            if start > last:
                done += text[at:start] + "***"
            at = last = max(last, end)
        return done + text[at:]


def of_run(service: Any, self_commit: str, repository: str) -> dict[str, str]:
    """System variables that hold for the whole run.

    https://learn.microsoft.com/azure/devops/pipelines/build/variables. Service and repository say what they are.
    """
    uri = f"{service.collection_uri}{urllib.parse.quote(service.project)}/_git/{urllib.parse.quote(repository)}"
    return {
        "System.CollectionId": service.collection_id,
        "System.CollectionUri": service.collection_uri,
        "System.TeamFoundationCollectionUri": service.collection_uri,
        "System.TeamFoundationServerUri": service.collection_uri,
        "System.TaskDefinitionsUri": service.collection_uri,
        "System.TeamProject": service.project,
        "System.TeamProjectId": service.project_id,
        "System.DefinitionId": str(service.definition_id),
        "System.DefinitionName": service.pipeline,
        "System.HostType": "build",
        "System.ServerType": "Hosted",
        "System.Culture": "en-US",
        "System.PlanId": service.plan_id,
        "System.TimelineId": service.plan_id,
        "System.IsScheduled": str(service.reason == "Schedule"),
        "System": "build",
        "Build.BuildId": str(service.build_id),
        "Build.BuildNumber": service.build_number,
        "Build.BuildUri": f"vstfs:///Build/Build/{service.build_id}",
        "Build.ContainerId": str(service.build_id),
        "Build.DefinitionName": service.pipeline,
        "Build.DefinitionVersion": "1",
        "Build.QueuedBy": service.requested_for,
        "Build.Reason": service.reason,
        "Build.RequestedFor": service.requested_for,
        "Build.RequestedForEmail": service.requested_for_email,
        "Build.SourceBranch": service.branch,
        "Build.SourceBranchName": service.branch.rpartition("/")[2],
        "Build.SourceVersion": self_commit,
        "Build.Repository.Name": repository,
        "Build.Repository.Provider": "TfsGit",
        "Build.Repository.Uri": uri,
        "Build.Repository.Clean": "False",
        "TF_BUILD": "True",
        **service.variables,
    }


def of_job(folder: Any, tools: Any, name: str) -> dict[str, str]:
    """System variables of an agent's job whose agent has the folder `folder`. For the layout see BuildJobExtension.cs."""
    workspace = folder / "1"
    return {
        "Agent.BuildDirectory": str(workspace),
        "Agent.HomeDirectory": str(folder),
        "Agent.RootDirectory": str(folder),
        "Agent.WorkFolder": str(folder),
        "Agent.TempDirectory": str(folder / "_temp"),
        "Agent.ToolsDirectory": str(tools),
        "Agent.Id": "1",
        "Agent.Name": name,
        "Agent.MachineName": name,
        "Agent.OS": {"Linux": "Linux", "Darwin": "Darwin"}.get(platform.system(), "Windows_NT"),
        "Agent.OSArchitecture": {"aarch64": "ARM64", "arm64": "ARM64"}.get(platform.machine(), "X64"),
        "Agent.Version": "4.0.0",
        "Agent.JobStatus": "Succeeded",
        "Pipeline.Workspace": str(workspace),
        "Build.SourcesDirectory": str(workspace / "s"),
        "Build.Repository.LocalPath": str(workspace / "s"),
        "Build.ArtifactStagingDirectory": str(workspace / "a"),
        "Build.StagingDirectory": str(workspace / "a"),
        "Build.BinariesDirectory": str(workspace / "b"),
        "System.DefaultWorkingDirectory": str(workspace / "s"),
        "System.ArtifactsDirectory": str(workspace / "a"),
        "System.WorkFolder": str(folder),
        "Common.TestResultsDirectory": str(workspace / "TestResults"),
        "Build.Repository.Git.SubmoduleCheckout": "False",
    }
