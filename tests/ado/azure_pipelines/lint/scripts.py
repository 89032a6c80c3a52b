"""Rules about inline scripts: what gets into them, what they print, what they fetch and what they overlook."""

from __future__ import annotations

import re
from collections.abc import Iterator

from azure_pipelines.nodes import Directive, Mapping, Place, Text

from .subject import EXPRESSION, MACRO, Source, Subject, commands

Found = Iterator[tuple[Place, str]]

# What whoever pushes a branch, writes a commit or opens a pull request decides
# (https://learn.microsoft.com/azure/devops/pipelines/build/variables).
UNTRUSTED = {
    "build.sourcebranch",
    "build.sourcebranchname",
    "build.sourceversionmessage",
    "build.sourceversionauthor",
    "build.requestedfor",
    "build.queuedby",
    "system.pullrequest.sourcebranch",
    "system.pullrequest.sourcebranchname",
    "system.pullrequest.targetbranch",
    "system.pullrequest.targetbranchname",
    "system.pullrequest.sourcerepositoryuri",
}
_PARAMETER = re.compile(r"\bparameters\s*(?:\.\s*(\w+)|\[\s*'([^']+)'\s*\])", re.IGNORECASE)
_VARIABLE = re.compile(r"\bvariables\s*(?:\.\s*(\w+)|\[\s*'([^']+)'\s*\])", re.IGNORECASE)
_EACH = re.compile(r"^\s*each\s+(\w+)\s+in\b", re.IGNORECASE)
_SECRET = re.compile(r"(secret|passw(or)?d|token|credential|api_?key|access_?key|private_?key|account_?key|connection_?string)", re.I)
_NOT_SECRET = re.compile(r"(name|id|uri|url|path|file|type|version|length|count|expiry|expires|lifetime|enabled)$", re.I)
_SETVARIABLE = re.compile(r"##vso\[task\.setvariable\s+([^\]]*)\](.*)", re.I)
_SPN = re.compile(r"\$\{?(?:env:)?(servicePrincipalKey|idToken)\b|%(servicePrincipalKey|idToken)%", re.I)
_PRINT = re.compile(r"^(echo|printf|Write-(Host|Output|Verbose)|print)\b", re.I)
_PIPED = re.compile(
    r"\b(curl|wget|iwr|irm|Invoke-WebRequest|Invoke-RestMethod)\b[^|;&]*\|\s*(sudo\s+)?(ba|z|da|k)?(sh|iex|Invoke-Expression|python3?|pwsh)\b",
    re.I,
)
_SUBSHELL = re.compile(r"\b(bash|sh|eval|source|\.)\s+(-c\s+)?(<\(|\"?\$\()\s*(curl|wget)\b", re.I)
_EVAL = re.compile(r"(^|[;&|]\s*|\s)(eval\s+[\"'$]|Invoke-Expression\b|iex\s)", re.I)
_SWALLOWED = re.compile(r"\|\|\s*(true|:|exit\s+0|echo\b)|--exit-zero\b|^set \+e\b")
_STRICT = re.compile(r"^\s*set\s+(-[a-z]*e|-o\s+errexit)|^#!.*\s-[a-z]*e", re.M)
_HARMLESS = re.compile(
    r"^(echo|printf|export|declare|local|readonly|set|shopt|cd|pushd|popd|true|:|if|then|else|elif|fi|for|while|do|done|case|esac|exit|return|[{}]|EOF|[A-Za-z_]\w*=(?!\$\()|\w+\s*\(\))(\b|\s|$|[^\w])"
)


def parameter_in_script(source: Source) -> Found:
    """`${{ }}` in a script, unless what it brings is a number, a truth value or one of a closed list."""
    looped = {found[1].lower() for _, text in source.texts if isinstance(text, Directive) for found in [_EACH.match(text[3:])] if found}
    for script in source.scripts:
        for found in EXPRESSION.finditer(script):
            written = found[1]
            bare = re.sub(r"'(?:[^']|'')*'", "''", written)
            names = [one[1] or one[2] for one in _PARAMETER.finditer(written)]
            open_ended = [name for name in names if not _closed(source, name)]
            loops = [word for word in re.findall(r"(?<![\w.])\w+", bare) if word.lower() in looped]
            bad = [f"parameters.{name}" for name in open_ended] + loops
            bad += [name for one in _VARIABLE.finditer(written) if (name := one[1] or one[2]).lower() in UNTRUSTED]
            if bad:
                fix = "pass it with env: and read it as an environment variable"
                yield source.find(script, found[0]), f"{bad[0]} becomes part of the script, whatever it contains; {fix}"


def _closed(source: Source, name: str) -> bool:
    declared = next((one for key, one in source.parameters.items() if key.lower() == name.lower()), None)
    if declared is None:
        return False
    kinds = {str(key): value for key, value in declared.items()}
    kind = kinds.get("type")
    return "values" in kinds or (isinstance(kind, Text) and kind.lower() in ("number", "boolean"))


def untrusted_macro(subject: Subject) -> Found:
    """`$(Build.SourceBranchName)` and the like in a script."""
    for script in subject.texts:
        for found in MACRO.finditer(script):
            if found[1].lower() in UNTRUSTED:
                name = found[1].upper().replace(".", "_")
                yield subject.find(script, found[0]), f"{found[0]} becomes part of the script; read ${name} from the environment instead"
    for _, _, step in subject.steps:
        for key, text in step.inputs.items():
            if key.lower() in ("arguments", "scriptarguments"):
                for found in MACRO.finditer(text):
                    if found[1].lower() in UNTRUSTED:
                        yield subject.find(text, found[0]), f"{found[0]} becomes part of a command line"


def secret_macro(subject: Subject) -> Found:
    """`$(password)` in a script: it is written to a file, and its quotes and dollars are the shell's."""
    for script in subject.texts:
        for found in MACRO.finditer(script):
            if _named_secret(found[1]) or found[1].lower() == "system.accesstoken":
                yield (
                    subject.find(script, found[0]),
                    f"the secret {found[0]} is written into the script; map it with env: and read it there",
                )


def secret_not_marked(subject: Subject) -> Found:
    """`setvariable` of something that is called a secret, without issecret=true."""
    for script in subject.texts:
        for found in _SETVARIABLE.finditer(script):
            properties = dict(part.strip().lower().partition("=")[::2] for part in found[1].split(";"))
            name, given = _variable(found[1]), found[2]
            if properties.get("issecret") != "true" and (_named_secret(name) or _SPN.search(given)):
                yield subject.find(script, found[0]), f"the variable {name} looks like a secret and is not marked: add issecret=true"


def secret_printed(subject: Subject) -> Found:
    """`echo $servicePrincipalKey`: what the task put into the environment is no known secret to every log."""
    for script in subject.texts:
        for line, offset in commands(script):
            found = _SPN.search(line)
            if found and _PRINT.match(line) and "##vso[" not in line and not re.search(r"\|(?!\|)|>", line):
                yield subject.find(script, found[0], offset), f"{found[0]} is printed into the log"


def secret_on_command_line(subject: Subject) -> Found:
    """A key or token as an argument: every process of the machine can read it."""
    login = re.compile(r"\baz\s+login\b.*(--password|-p\b|--federated-token)", re.I)
    for script in subject.texts:
        for line, _ in commands(script):
            found = login.search(line)
            if found:
                message = (
                    "a secret on a command line is seen by every process; let AzureCLI@2 sign in, or the SDK read it from the environment"
                )
                yield subject.find(script, found[0].partition("\\")[0][:20]), message


def plain_secret(source: Source) -> Found:
    """A variable or parameter that is called a secret and has its value in the file."""
    for node in source.mappings:
        for block in (value for key, value in node.items() if key == "variables" or key == "env"):
            pairs: list[tuple[Text, object]] = list(block.items()) if isinstance(block, Mapping) else []
            for item in block if isinstance(block, list) else ():
                if isinstance(item, Mapping) and "name" in item and "value" in item:
                    keys = {str(key): value for key, value in item.items()}
                    if isinstance(keys["name"], Text):
                        pairs.append((keys["name"], keys["value"]))
            for name, value in pairs:
                if isinstance(value, Text) and _named_secret(name) and _literal(value):
                    yield value.at, f"'{name}' has its value in the file: keep it in a variable group, a key vault or a service connection"


def _literal(value: str) -> bool:
    return (
        len(value) > 3
        and not re.search(r"\$[\[({]", value)
        and value.lower() not in ("true", "false", "none", "null")
        and not value.isdigit()
    )


def _named_secret(name: str) -> bool:
    plain = name.replace("-", "_").replace(".", "_")
    return bool(_SECRET.search(plain)) and not _NOT_SECRET.search(plain)


def traced_command(subject: Subject) -> Found:
    """`set -x` in a script that writes logging commands: the trace is read as a second, broken command."""
    for script, shell in subject.shells:
        traced = re.search(r"^\s*(set\s+-[a-z]*x[a-z]*|set\s+-o\s+xtrace|bash\s+-[a-z]*x)\b", script, re.M)
        if traced and shell == "bash" and "##vso[" in script:
            yield subject.find(script, traced[0]), "the trace repeats each ##vso command with quotes added, and the agent reads it again"


def piped_to_shell(subject: Subject) -> Found:
    """`curl ... | bash`."""
    for script in subject.texts:
        for line, _ in commands(script):
            found = _PIPED.search(line) or _SUBSHELL.search(line)
            if found:
                message = "whatever the server sends is run; fetch a fixed version, compare its digest, then run it"
                yield subject.find(script, found[0][:12]), message


def evaluated(subject: Subject) -> Found:
    """`eval` and Invoke-Expression."""
    for script in subject.texts:
        for line, _ in commands(script):
            found = _EVAL.search(line)
            if found and not _SUBSHELL.search(line) and not _PIPED.search(line):
                yield (
                    subject.find(script, found[0]),
                    "a command that is put together as text runs whatever its parts contain; call it directly",
                )


def swallowed(subject: Subject) -> Found:
    """`|| true`: the step is green whatever happened."""
    for script, shell in subject.shells:
        for line, _ in commands(script) if shell == "bash" else ():
            found = _SWALLOWED.search(line)
            if found:
                yield (
                    subject.find(script, found[0]),
                    f"'{found[0].strip()}' hides a failure; let the step fail, or test for the one case that may",
                )


def unnoticed(subject: Subject) -> Found:
    """Several commands without `set -e`: only the last one's exit code counts."""
    for script, shell in subject.shells:
        if shell != "bash" or _STRICT.search(script):
            continue
        lines = [line for line, _ in commands(_without_documents(script))]
        risky = [line for line in lines[:-1] if not _HARMLESS.match(line) and not re.search(r"(&&|\|\|)\s*$|\|\|\s*exit\b", line)]
        if risky:
            first = risky[0].partition("  ")[0]  # of a continued line the first part
            message = "if this command fails the script goes on, and only its last exit code counts: begin with set -e"
            yield subject.find(script, first), message


def _without_documents(script: str) -> str:
    """Without the text of here-documents."""
    return re.sub(r"<<-?\s*['\"]?(\w+)['\"]?(.*)\n(?:.*\n)*?\s*\1\s*$", r"\2", script, flags=re.M)


def used_in_own_step(subject: Subject) -> Found:
    """`$(x)` in the step that sets x: it is filled in before the step runs."""
    for script in subject.texts:
        for found in _SETVARIABLE.finditer(script):
            name, after = _variable(found[1]), script[found.end() :]
            if name and re.search(rf"\$\({re.escape(name)}\)", after, re.I):
                message = f"$({name}) is filled in before the step runs, so it is not yet what the step sets"
                yield subject.find(script, f"$({name})", found.end()), message


def env_of_a_variable(subject: Subject) -> Found:
    """`env:` of a step for what a variable is called in the environment: the agent puts the variables over it.

    Source: microsoft/azure-pipelines-agent, Handler.cs, AddVariablesToEnvironment, and #3091.
    """
    for stage, job, step in subject.steps:
        variables = {one.name.lower(): one for of in (subject.pipeline, stage, job) for one in of.variables if one.name}
        taken = {one.name.replace(".", "_").upper(): one for one in variables.values()}
        for key, value in step.env.items():
            one = taken.get(key)
            if one and value != one.value and value.lower() != f"$({one.name})".lower():
                yield key.at, f"the variable {one.name} goes before it, so the step sees '{one.value}': call one of them something else"


def output_without_step(subject: Subject) -> Found:
    """`$(x)` for a variable that is only set as an output: it is called `$(step.x)`."""
    for stage, job in subject.jobs:
        outputs: dict[str, str] = {}
        plain = {variable.name.lower() for of in (subject.pipeline, stage, job) for variable in of.variables}
        for one in subject.scripts:
            for found in _SETVARIABLE.finditer(one.text) if one.job is job else ():
                name = _variable(found[1]).lower()
                if re.search(r"isoutput=true", found[1], re.I) and one.step.name:
                    outputs.setdefault(name, one.step.name)
                else:
                    plain.add(name)
        for step in job.all_steps():
            for text in [*step.inputs.values(), *step.env.values()]:
                for found in MACRO.finditer(text):
                    name = found[1].lower()
                    if name in outputs and name not in plain:
                        yield subject.find(text, found[0]), f"an output is read with its step: $({outputs[name]}.{found[1]})"


def _variable(properties: str) -> str:
    """The name in the properties of a setvariable command."""
    found = re.search(r"variable=([^;\]]+)", properties, re.I)
    return found[1].strip() if found else ""


def unpinned_install(subject: Subject) -> Found:
    """`pip install x` and friends without a version."""
    for script in subject.texts:
        for line, _ in commands(script):
            for part in re.split(r"&&|\|\||;|\|", line):
                name = _unpinned(part.strip())
                if name:
                    yield (
                        subject.find(script, part.strip()[:24]),
                        f"{name} is whatever version is newest on the day: pin it, or install from a lock file",
                    )


def _unpinned(command: str) -> str:
    words = command.split()
    joined = " ".join(words)
    pip = re.match(r"(?:\S*python[\d.]*\s+-m\s+)?(?:\S*/)?(?:uv\s+)?pip[\d.]*\s+install\s+(.*)", joined)
    if pip:
        rest = pip[1].split()
        if any(
            word in ("-r", "--requirement", "-e", "--editable", "-c", "--constraint", "--require-hashes")
            or word.startswith(("-r", "-e", "."))
            for word in rest
        ):
            return ""
        names = [word for word in rest if not word.startswith("-") and not re.search(r"[=<>~@/$]|\.whl|\.tar", word.strip("\"'"))]
        own = {"pip", "setuptools", "wheel"}
        skipped = {
            rest[i + 1]
            for i, word in enumerate(rest[:-1])
            if word in ("--index-url", "-i", "--extra-index-url", "--target", "-t", "--prefix")
        }
        return next((name.strip("\"'") for name in names if name.strip("\"'").partition("[")[0] not in own and name not in skipped), "")
    npm = re.match(r"(?:npm|yarn|pnpm)\s+(?:install|i|add|global add)\b(.*)", joined)
    if npm:
        names = [word for word in npm[1].split() if not word.startswith("-") and not re.search(r".@\w|[/$.]", word)]
        return names[0] if names else "what package.json allows" if joined in ("npm install", "npm i") else ""
    extension = re.match(r"az\s+extension\s+add\b(.*)", joined)
    if extension and "--version" not in extension[1] and "--source" not in extension[1]:
        found = re.search(r"(?:--name|-n)\s+(\S+)", extension[1])
        return f"the extension {found[1]}" if found else ""
    return ""


def stderr_fails(subject: Subject) -> Found:
    """failOnStderr: warnings and progress go there too."""
    for _, _, step in subject.steps:
        for key, value in step.inputs.items():
            if key.lower() in ("failonstderr", "failonstandarderror") and value.lower() == "true":
                yield value.at, "git, az, pip and others write progress and warnings to standard error; let the exit code decide"


def inline_ignored(subject: Subject) -> Found:
    """A script in a task whose default is a file: the script is ignored and the task fails."""
    for _, _, step in subject.steps:
        name = step.task.lower().partition("@")[0]
        if step.kind != "task":
            continue
        if name in ("bash", "powershell") and step.input("script") and step.input("targetType").lower() != "inline":
            yield step.at, f"{step.task} takes a file unless it has targetType: inline, so this script is not run"
        if name == "azurecli" and step.input("inlineScript") and step.input("scriptLocation").lower() != "inlinescript":
            yield step.at, f"{step.task} takes a file unless it has scriptLocation: inlineScript, so this script is not run"
