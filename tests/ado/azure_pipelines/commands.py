"""Logging commands, `##vso[area.event key=value;...]data`, and what each does.

https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands; how a line is taken apart, what is an error and what only a
warning are microsoft/azure-pipelines-agent's: Command.cs, CommandStringConvertor.cs, WorkerCommandManager.cs, TaskCommandExtension.cs,
Build/ArtifactCommandExtension.cs.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .report import CANCELED, FAILED, ISSUES, SKIPPED, SUCCEEDED, merge
from .variables import ReadOnly

if TYPE_CHECKING:
    from .steps import StepRun

_PREFIX = "##vso["
_MORE = "Please reference documentation (http://go.microsoft.com/fwlink/?LinkId=817296)"
_ESCAPES = (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%"))
# Areas and events that the agent knows and this runner does not do.
_ELSEWHERE = {
    "build": {"uploadlog"},
    "artifact": {"associate"},
    "task": {"setendpoint"},
    "codecoverage": {"publish", "enable"},
    "results": {"publish", "publishtoevidencestore"},
    "release": {"updatereleasename"},
    "plugininternal": {"updaterepositorypath"},
    "telemetry": {"publish"},
}


class Wrong(Exception):
    """A command that can't be done; the step fails."""


@dataclass
class Command:
    """One command. Names of properties have no case."""

    area: str
    event: str
    properties: dict[str, str] = field(default_factory=dict)
    data: str = ""

    def truth(self, name: str) -> bool:
        """Whether a property says true, in any case."""
        return self.properties.get(name, "").strip().lower() == "true"


def parse(line: str) -> Command | None:
    """The command in a line, wherever in it it begins; None if there is none."""
    start = line.find(_PREFIX)
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name, _, properties = line[start + len(_PREFIX) : end].partition(" ")
    parts = [part for part in name.split(".") if part]
    if len(parts) != 2:
        return None
    command = Command(parts[0].lower(), parts[1].lower(), data=unescape(line[end + 1 :]))
    for pair in properties.split(";"):
        key, _, value = pair.partition("=")
        if key and value:
            command.properties[key.lower()] = unescape(value)
    return command


def unescape(text: str) -> str:
    """%3B, %0D, %0A, %5D, and %AZP25 for %."""
    for written, meant in _ESCAPES:
        text = text.replace(written, meant)
    return text


def take(line: str, step: StepRun) -> bool:
    """Do the command in a line, if it has one; whether it had. What goes wrong is said in the step's log and may fail the step."""
    command = parse(line)
    if command is None:
        if "##vso" in line:
            step.warning(
                f"'{line}' contains logging command keyword '##vso', but it's not a legal command. "
                "Please see the list of accepted commands: https://go.microsoft.com/fwlink/?LinkId=817296"
            )
        return False
    area = _AREAS.get(command.area)
    if area is None and command.area not in _ELSEWHERE:
        step.warning(f"Cannot find command extension for ##vso[{command.area}.command]. {_MORE}")
        return True
    try:
        do = (area or {}).get(command.event)
        if do is None and command.event in _ELSEWHERE.get(command.area, ()):
            raise Wrong(f"This runner does not do ##vso[{command.area}.{command.event}]")
        if do is None:
            raise Wrong(f"##vso[{command.area}.{command.event}] is not a recognized command for {command.area} command extension. {_MORE}.")
        do(command, step)
    except (Wrong, ReadOnly, OSError) as wrong:
        step.error(f"Unable to process command '{line}' successfully. {_MORE}")
        step.error(str(wrong))
        step.command_result = merge(step.command_result, FAILED)
    return True


def _set_variable(command: Command, step: StepRun) -> None:
    name = command.properties.get("variable", "")
    if not name:
        raise Wrong("Required field 'variable' is missing in ##vso[task.setvariable] command.")
    secret, output = command.truth("issecret"), command.truth("isoutput")
    if secret and "\n" in command.data:
        raise Wrong("Secrets cannot contain multiple lines")
    if secret:
        step.job.masker.add(command.data)
    readonly = output or command.truth("isreadonly")
    step.job.variables.check(name)
    if output:  # it has the step's name before its own, in this job too
        step.job.variables.set(f"{step.ref}.{name}", command.data, secret=secret, readonly=readonly, force=True)
        step.record.outputs[name] = command.data
    else:
        step.job.variables.set(name, command.data, secret=secret, readonly=readonly)


def _set_secret(command: Command, step: StepRun) -> None:
    step.job.masker.add(command.data)


def _log_issue(command: Command, step: StepRun) -> None:
    kind = command.properties.get("type")
    if kind is None:
        step.warning("Can't create TaskIssue from logging event.")
        return
    message, of = command.data, command.properties.get
    if source := of("sourcepath"):
        message = f"{source}({of('linenumber', '')},{of('columnnumber', '')}): {kind} {of('code', '')}: {message}"
    if kind.lower() == "error":
        step.error(message)
    elif kind.lower() == "warning":
        step.warning(message)
    else:
        raise Wrong(f"issue type {kind} is not an expected issue type.")


def _complete(command: Command, step: StepRun) -> None:
    result = command.properties.get("result")  # with its capitals
    if result not in (SUCCEEDED, ISSUES, FAILED, CANCELED, SKIPPED):
        raise Wrong("Command doesn't have valid result value.")
    step.result = merge(step.result, result)
    if command.truth("done"):
        step.end_soon()


def _log_detail(command: Command, step: StepRun) -> None:
    """Records of a timeline below the step are checked as the agent checks them, and not kept."""
    try:
        known = uuid.UUID(command.properties.get("id", ""))
    except ValueError:
        known = uuid.UUID(int=0)
    if not known.int:
        raise Wrong("Timeline record id is required in ##vso[task.logdetail]")


def _progress(command: Command, step: StepRun) -> None:
    """A figure for a page that is not there."""


def _debug(command: Command, step: StepRun) -> None:
    if step.job.variables.get("System.Debug").lower() == "true":
        step.write(f"##[debug]{command.data}")


def _summary(command: Command, step: StepRun) -> None:
    if not command.data:
        raise Wrong("Cannot upload summary file, summary file location is not specified.")
    _attach("Distributedtask.Core.Summary", Path(command.data).name, command.data, step)


def _upload_file(command: Command, step: StepRun) -> None:
    if not command.data:
        raise Wrong("Cannot upload task file, file location is not specified.")
    _attach("DistributedTask.Core.FileAttachment", Path(command.data).name, command.data, step)


def _attachment(command: Command, step: StepRun) -> None:
    for key in ("type", "name"):
        if not command.properties.get(key):
            raise Wrong(f"Can't add task attachment, attachment {key} is not provided.")
        if "/" in command.properties[key]:
            raise Wrong(f"{key.title()} contains invalid characters. (/)")
    _attach(command.properties["type"], command.properties["name"], command.data, step)


def _attach(kind: str, name: str, file: str, step: StepRun) -> None:
    if not file or not Path(file).is_file():
        raise Wrong(
            "Cannot upload task attachment file, attachment file location is not specified or attachment file does not exist on disk."
        )
    step.job.attach(kind, name, Path(file))


def _prepend_path(command: Command, step: StepRun) -> None:
    if not command.data:
        raise Wrong("Value cannot be null or empty: prependpath")
    step.job.path = [command.data, *(folder for folder in step.job.path if folder != command.data)]


def _upload_artifact(command: Command, step: StepRun) -> None:
    name = command.properties.get("artifactname", "")
    if not name:
        raise Wrong("Artifact Name is required.")
    source = Path(step.job.variables.get("System.DefaultWorkingDirectory")) / command.data
    if not command.data or not source.exists():
        raise Wrong(f"Path does not exist: {command.data}")
    if source.is_dir() and not any(file.is_file() for file in source.rglob("*")):
        step.warning(f"Directory '{source}' is empty. Nothing will be added to build artifact '{name}'.")
        return
    target = step.job.artifacts / name / Path(command.properties.get("containerfolder") or name).relative_to(name)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / source.name)


def _build_number(command: Command, step: StepRun) -> None:
    if not command.data:
        raise Wrong("Build number is required.")
    step.job.variables.set("Build.BuildNumber", command.data, force=True)


def _build_tag(command: Command, step: StepRun) -> None:
    if not command.data:
        raise Wrong("Build tag is required.")
    step.job.record.tags.append(command.data)


_AREAS = {
    "task": {
        "setvariable": _set_variable,
        "setsecret": _set_secret,
        "logissue": _log_issue,
        "issue": _log_issue,
        "complete": _complete,
        "logdetail": _log_detail,
        "setprogress": _progress,
        "settaskvariable": _progress,
        "debug": _debug,
        "uploadsummary": _summary,
        "uploadfile": _upload_file,
        "addattachment": _attachment,
        "prependpath": _prepend_path,
    },
    "artifact": {"upload": _upload_artifact},
    "build": {"updatebuildnumber": _build_number, "addbuildtag": _build_tag},
}
