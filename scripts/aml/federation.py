"""Whom an application trusts without a secret: what a job presents, what a federated credential accepts, and how the two differ.

Sources: "OpenID Connect reference" (docs.github.com/actions/reference/security/oidc) for GitHub's subjects, customised ones and the
immutable ones of repositories created or renamed since 2026-07-15 (github/docs#45221); "Migrate GitHub Actions federated credentials to
immutable subjects" and "Flexible federated identity credentials" (learn.microsoft.com/entra/workload-id) for what Entra compares and
for the expression language; "Troubleshoot an Azure Resource Manager workload identity service connection"
(learn.microsoft.com/azure/devops) for the two forms of a service connection.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aml.command import Refusal

GITHUB = "https://token.actions.githubusercontent.com"
AZURE_DEVOPS = "https://vstoken.dev.azure.com/"  # and the organization's id; Microsoft retires it on 2027-07-01
AUDIENCE = "api://AzureADTokenExchange"
EXCHANGE = "fb60f99c-7a34-4190-8149-302f77469936"  # the same audience, as Entra's own tokens carry it
_IMMUTABLE = "repositories created, renamed or transferred since 2026-07-15 present them, others once they opt in"
MOST = 120  # characters of a credential's name; Graph's limit


@dataclass(frozen=True)
class Presented:
    """What a job shows to Entra. `claims` are the others that an expression may look at."""

    issuer: str
    subject: str
    audience: str = AUDIENCE
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Credential:
    """A federated credential: a classic one has a `subject`, a flexible one an `expression` instead."""

    name: str
    issuer: str
    subject: str = ""
    expression: str = ""
    audience: str = AUDIENCE
    why: str = ""
    id: str = ""

    @property
    def trust(self) -> tuple[str, str, str, str]:
        """What it accepts; two credentials with the same are the same to Entra."""
        return self.issuer.rstrip("/"), self.subject, " ".join(self.expression.split()), self.audience

    def body(self) -> dict[str, Any]:
        """As Microsoft Graph takes it. An expression's language version is 1, and `subject` and expression exclude each other."""
        made: dict[str, Any] = {"name": self.name, "issuer": self.issuer, "audiences": [self.audience], "description": self.why or None}
        if self.expression:
            return {**made, "subject": None, "claimsMatchingExpression": {"value": self.expression, "languageVersion": 1}}
        return {**made, "subject": self.subject}


def of_graph(found: Mapping[str, Any]) -> Credential:
    """A credential from Graph's JSON."""
    expression = found.get("claimsMatchingExpression") or {}
    return Credential(
        name=str(found["name"]),
        issuer=str(found["issuer"]),
        subject=str(found.get("subject") or ""),
        expression=str(expression.get("value") or ""),
        audience=" ".join(found.get("audiences") or ()),
        why=str(found.get("description") or ""),
        id=str(found.get("id") or ""),
    )


def presented(claims: Mapping[str, Any]) -> Presented:
    """What a job's token shows. Entra's own tokens name the exchange by its application's id, which Entra takes for the audience."""
    audience = str(claims.get("aud") or "")
    rest = {name: str(claims[name]) for name in ("job_workflow_ref", "repository", "environment", "ref") if claims.get(name)}
    return Presented(str(claims.get("iss") or ""), str(claims.get("sub") or ""), AUDIENCE if audience == EXCHANGE else audience, rest)


def github_subject(
    repository: str, *, environment: str = "", ref: str = "", ids: tuple[str, str] | None = None, claims: Mapping[str, str] | None = None
) -> str:
    """The subject of a GitHub job: of its environment, else of its branch or tag (`refs/heads/main`), else of a pull request.

    `ids` are those of owner and repository, where subjects are immutable. `claims` follow where the subject is customised to
    `repo, context` and these. A colon inside of a value is written %3A.
    """
    owner, _, name = repository.partition("/")
    repo = f"{owner}@{ids[0]}/{name}@{ids[1]}" if ids else repository
    context = f"environment:{_escaped(environment)}" if environment else f"ref:{ref}" if ref else "pull_request"
    return ":".join([f"repo:{repo}", context, *(f"{key}:{_escaped(value)}" for key, value in (claims or {}).items())])


def workflow(catalog: str, journey: str, tag: str) -> str:
    """The claim `job_workflow_ref` of a catalog's journey at a tag; the tag may have the wildcards of an expression."""
    return f"{catalog}/.github/workflows/{journey}.yml@refs/tags/{tag}"


def expression(subject: str, job_workflow_ref: str) -> str:
    """A flexible credential's expression: this subject, from this workflow. Its wildcards, * and ?, are only for the workflow's ref."""
    for text in (subject, job_workflow_ref):
        if "'" in text:
            raise Refusal(f"{text} cannot stand in an expression", "It has a quote, which ends a text there", "rename it")
    operator = "matches" if re.search(r"[*?]", job_workflow_ref) else "eq"
    return f"claims['sub'] eq '{subject}' and claims['job_workflow_ref'] {operator} '{job_workflow_ref}'"


_CLAUSE = re.compile(r"claims\[['‘’](\w+)['‘’]\] (eq|matches) '((?:[^']|'')*)'")


def clauses(text: str) -> list[tuple[str, str, str]] | None:
    """An expression as (claim, operator, text), all of which must hold; None for one that is not understood."""
    found, at = [], 0
    text = text.strip()
    while match := _CLAUSE.match(text, at):
        found.append((match[1], match[2], match[3].replace("''", "'")))
        at = match.end()
        if at == len(text):
            return found
        if not text.startswith(" and ", at):
            return None
        at += len(" and ")
    return None


def accepts(credential: Credential, job: Presented) -> bool:
    """Whether the credential takes what the job presents."""
    return not differences(credential, job)


def differences(credential: Credential, job: Presented) -> list[str]:
    """Why the credential does not take what the job presents, as sentences; none if it does. Entra compares with case."""
    found = []
    if credential.issuer.rstrip("/") != job.issuer.rstrip("/"):
        found.append(f"issuer: it accepts {credential.issuer}, the job presents {job.issuer}{_issuers(credential.issuer, job.issuer)}")
    if credential.audience != job.audience:
        found.append(f"audience: it accepts {credential.audience or 'none'}, the job presents {job.audience}")
    if not credential.expression:
        if credential.subject != job.subject:
            hint = hints(credential.subject, job.subject)
            found.append(f"subject: it accepts {credential.subject}, the job presents {job.subject}{f' ({hint})' if hint else ''}")
        return found
    parts = clauses(credential.expression)
    if parts is None:
        return [*found, f"expression: {credential.expression} is not understood"]
    for claim, operator, text in parts:
        value = job.subject if claim == "sub" else job.claims.get(claim, "")
        if not (value == text if operator == "eq" else _wildcard(text).fullmatch(value)):
            hint = hints(text, value) if claim == "sub" else _refs(text, value)
            found.append(f"{claim}: it accepts {text}, the job presents {value or 'none'}{f' ({hint})' if hint else ''}")
    return found


def nearest(credentials: Iterable[Credential], job: Presented) -> list[tuple[Credential, list[str]]]:
    """All credentials with why each does not take the job, those that come nearest first."""
    found = [(one, differences(one, job)) for one in credentials]
    return sorted(found, key=lambda pair: (pair[0].issuer.rstrip("/") != job.issuer.rstrip("/"), len(pair[1]), -_common(pair[0], job)))


def hints(accepted: str, shown: str) -> str:
    """What sets two subjects apart, in words; '' if it is simply another one."""
    if accepted.lower() == shown.lower():
        return "they differ in the case of letters only"
    mine, yours = parts(accepted), parts(shown)
    if not mine or not yours:
        return _connections(accepted, shown)
    told = []
    if plain(mine["repo"]) != plain(yours["repo"]):
        told.append("another repository")
    elif mine["repo"] != yours["repo"]:
        ids = "the job presents immutable ids, and it has none" if "@" in yours["repo"] else "it has immutable ids, the job presents none"
        told.append(f"{ids}; {_IMMUTABLE}")
    if mine["context"] != yours["context"]:
        told.append(f"it is for {context(mine['context'])}, and the job's is {context(yours['context'])}")
    if mine["rest"] != yours["rest"]:
        told.append(f"it is {_customised(mine['rest'])}, and the job's is {_customised(yours['rest'])}")
    return "; ".join(told)


def parts(subject: str) -> dict[str, str]:
    """A GitHub subject as its `repo`, `context` and the `rest` that a customised one has; {} for one of another form."""
    match = re.fullmatch(r"repo:([^:]+):(environment:[^:]*|ref:[^:]*|pull_request)((?::[^:]+:[^:]*)*)", subject)
    return {"repo": match[1], "context": match[2], "rest": match[3].lstrip(":")} if match else {}


def plain(repo: str) -> str:
    """owner/name without immutable ids, in lower case."""
    return re.sub(r"@\d+", "", repo).lower()


def context(text: str) -> str:
    """The context of a GitHub subject in words."""
    kind, _, value = text.partition(":")
    if kind == "environment":
        return f"environment {value}"
    if kind == "ref":
        return f"{'tag' if value.startswith('refs/tags/') else 'branch'} {re.sub('^refs/(heads|tags)/', '', value)}"
    return "a pull request"


def form(job: Presented) -> str:
    """What kind of subject it is, in words."""
    if found := parts(job.subject):
        kind = "immutable" if "@" in found["repo"] else "classic"
        return f"GitHub, {kind}{', customised' if found['rest'] else ''}: {context(found['context'])} of {found['repo']}"
    if job.issuer.rstrip("/") == GITHUB:
        return "GitHub, customised"
    if names := connection(job.subject):
        return f"Azure DevOps: service connection {names}"
    return "of another kind"


def connection(subject: str) -> str:
    """A service connection's subject in words: by id in Entra's form, by name in the old one; '' for no such subject."""
    if match := re.fullmatch(r"/eid1/c/pub/t/([\w-]+)/a/([\w-]+)/sc/([0-9a-fA-F-]+)/([0-9a-fA-F-]+)", subject):
        return f"{match[4]} of organization {match[3]} in tenant {_guid(match[1])} (Entra's issuer)"
    if match := re.fullmatch(r"sc://([^/]+)/([^/]+)/(.+)", subject):
        return f"{match[3]} of {match[1]}/{match[2]} (the issuer that retires on 2027-07-01)"
    return ""


def connection_id(subject: str) -> str:
    """The id of the service connection whose subject this is, in Entra's form; '' for every other subject."""
    match = re.fullmatch(r"/eid1/c/pub/t/[\w-]+/a/[\w-]+/sc/[0-9a-fA-F-]+/([0-9a-fA-F-]+)", subject)
    return match[1].lower() if match else ""


def name(*words: str) -> str:
    """A credential's name: letters, digits and dashes. Sources: "federatedIdentityCredential" (learn.microsoft.com/graph)."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(words)).strip("-")[:MOST]


def _customised(rest: str) -> str:
    return f"customised with {rest}" if rest else "not customised"


def _escaped(value: str) -> str:
    return value.replace(":", "%3A")


def _wildcard(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _guid(text: str) -> str:
    try:
        return str(uuid.UUID(bytes_le=base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except ValueError:
        return text


def _issuers(accepted: str, shown: str) -> str:
    forms = ["old" if issuer.startswith(AZURE_DEVOPS) else "new" if issuer.endswith("/v2.0") else "" for issuer in (accepted, shown)]
    if forms == ["old", "new"]:
        return " (the service connection was converted to Entra's issuer, and the credential was not)"
    return " (the credential is for Entra's issuer, and the service connection was not converted)" if forms == ["new", "old"] else ""


def _connections(accepted: str, shown: str) -> str:
    if connection(accepted) and connection(shown):
        return f"it is for service connection {connection(accepted)}, and the job's is {connection(shown)}"
    return ""


def _refs(accepted: str, shown: str) -> str:
    if not shown:
        return "only a job of a reusable workflow presents one"
    (file, _, ref), (other, _, at) = accepted.partition("@"), shown.partition("@")
    if not _wildcard(file).fullmatch(other):
        return "another workflow"
    if ref.startswith("refs/tags/") and not at.startswith("refs/tags/"):
        return "the catalog is called at a branch or a commit, not at a tag"
    return ""


def _common(credential: Credential, job: Presented) -> int:
    texts: Sequence[str] = [text for claim, _, text in clauses(credential.expression) or () if claim == "sub"] or [credential.subject]
    return max((sum(1 for _ in _same(text, job.subject)) for text in texts), default=0)


def _same(one: str, other: str) -> Iterable[str]:
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            return
        yield mine
