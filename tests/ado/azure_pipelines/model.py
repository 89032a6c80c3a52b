"""An expanded pipeline, typed: stages, jobs, steps and variables, with the defaults of the service filled in.

Keys and defaults are those of https://learn.microsoft.com/azure/devops/pipelines/yaml-schema. Every text is a `Text` with its place.
What a key may hold is checked here; whether the parts fit together (dependencies, references) is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .nodes import Fault, Mapping, Node, Place, Sequence, Text

# What a pipeline says when it leaves stages and jobs out.
DEFAULT_STAGE = "__default"
DEFAULT_JOB = "Job"

_TRUE, _FALSE = {"true", "y", "yes", "on"}, {"false", "n", "no", "off"}
_ROOT = {
    "name",
    "appendCommitMessageToRunName",
    "trigger",
    "pr",
    "schedules",
    "parameters",
    "resources",
    "variables",
    "pool",
    "lockBehavior",
}
_BODY = {"strategy", "continueOnError", "container", "services", "workspace", "timeoutInMinutes", "cancelTimeoutInMinutes", "steps"}
_STAGE = {
    "stage", "displayName", "pool", "dependsOn", "condition", "variables", "jobs", "lockBehavior", "trigger", "isSkippable",
    "templateContext",
}  # fmt: skip
_JOB = {
    "displayName", "dependsOn", "condition", "continueOnError", "timeoutInMinutes", "cancelTimeoutInMinutes", "variables", "strategy",
    "pool", "container", "services", "workspace", "uses", "templateContext",
}  # fmt: skip
_STEP = {
    "name", "displayName", "condition", "continueOnError", "enabled", "env", "target", "timeoutInMinutes", "retryCountOnTaskFailure",
}  # fmt: skip
# kind of a step -> (the task that it is short for, further keys that are inputs of that task)
KINDS: dict[str, tuple[str, set[str]]] = {
    "task": ("", {"inputs"}),
    "script": ("CmdLine@2", {"workingDirectory", "failOnStderr"}),
    "bash": ("Bash@3", {"workingDirectory", "failOnStderr"}),
    "powershell": ("PowerShell@2", {"workingDirectory", "failOnStderr", "errorActionPreference", "ignoreLASTEXITCODE"}),
    "pwsh": ("PowerShell@2", {"workingDirectory", "failOnStderr", "errorActionPreference", "ignoreLASTEXITCODE"}),
    "checkout": ("", {
        "clean", "fetchDepth", "fetchFilter", "fetchTags", "lfs", "persistCredentials", "submodules", "path",
        "sparseCheckoutDirectories", "sparseCheckoutPatterns", "workspaceRepo",
    }),
    "publish": ("PublishPipelineArtifact@1", {"artifact"}),
    "download": ("DownloadPipelineArtifact@2", {"artifact", "patterns", "path"}),
    "downloadBuild": ("DownloadBuildArtifacts@0", {"artifact", "path", "patterns", "inputs"}),
    "getPackage": ("DownloadPackage@1", {"path"}),
    "upload": ("PublishPipelineArtifact@1", {"artifact"}),
    "reviewApp": ("ReviewApp@0", set()),
}  # fmt: skip
# The hooks of a deployment job, in the order in which they run.
HOOKS = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic", "on.failure", "on.success")


@dataclass(frozen=True)
class Variable:
    """A variable as one of the `variables:` of a pipeline, stage or job says it; with `group`, the name is a variable group's."""

    name: Text
    value: Text
    readonly: bool = False
    group: bool = False


@dataclass(frozen=True)
class Pool:
    """Where a job runs. `name` is '' for Microsoft-hosted agents, 'server' for a job without an agent."""

    name: Text
    vm_image: Text
    at: Place


@dataclass
class Step:
    """One step. `kind` is the key that it was written with; `task` the task that this stands for, '' only for a checkout.

    `inputs` are the task's, also where the step was written short: a `bash:` has the input `script`. For a checkout they are its keys
    and `checkout` itself.
    """

    kind: str
    task: Text
    name: Text
    display_name: Text
    inputs: dict[Text, Text]
    env: dict[Text, Text]
    condition: Text | None
    continue_on_error: bool
    enabled: bool
    timeout_in_minutes: Text
    retry_count: Text
    at: Place
    node: Mapping

    @property
    def working_directory(self) -> str:
        """Where it runs; '' is System.DefaultWorkingDirectory."""
        return self.input("workingDirectory")

    @property
    def title(self) -> str:
        """What a person calls it: its display name, or what the service makes up for it."""
        named = {"script": "CmdLine", "bash": "Bash", "powershell": "PowerShell", "pwsh": "PowerShell"}
        made_up = f"Checkout {self.inputs[Text('checkout', self.at)]}" if self.kind == "checkout" else named.get(self.kind)
        return self.display_name or made_up or self.task.partition("@")[0] or self.kind

    def input(self, name: str, default: str = "") -> str:
        """An input's text; names of inputs differ in more than case."""
        return next((value for key, value in self.inputs.items() if key.lower() == name.lower()), Text(default, self.at))


@dataclass
class Hook:
    """The steps of one hook of a deployment job; `pool` where it has one of its own."""

    steps: list[Step]
    pool: Pool | None
    at: Place


@dataclass
class Job:
    """One job. `strategy` is '', matrix, parallel, runOnce, rolling or canary; a plain job has `steps`, a deployment `hooks`.

    `matrix` maps each leg to its variables, or is the `$[ ]` expression that will. `timeout_in_minutes` is '' where nothing is written
    (the service then takes 60). `pool` is the job's own or, where it has none, the stage's or the pipeline's.
    """

    name: Text
    kind: str
    display_name: Text
    depends_on: list[Text]
    condition: Text | None
    continue_on_error: bool
    timeout_in_minutes: Text
    cancel_timeout_in_minutes: Text
    pool: Pool | None
    variables: list[Variable]
    strategy: str
    matrix: dict[Text, dict[Text, Text]] | Text
    max_parallel: Text
    environment: Text
    resource_name: Text
    hooks: dict[str, Hook]
    steps: list[Step]
    container: Node | None
    services: Node | None
    workspace_clean: Text
    at: Place
    node: Mapping

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.display_name or self.name

    def all_steps(self) -> Iterator[Step]:
        """Its own steps and those of all hooks, in the order in which they run."""
        yield from self.steps
        for hook in self.hooks.values():
            yield from hook.steps


@dataclass
class Stage:
    """One stage. `depends_on` is what it waits for: as written, or the stage before it."""

    name: Text
    display_name: Text
    depends_on: list[Text]
    condition: Text | None
    variables: list[Variable]
    jobs: list[Job]
    lock_behavior: str
    manual: bool
    pool: Pool | None
    at: Place
    node: Mapping

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.display_name or self.name


@dataclass
class Pipeline:
    """The whole. A pipeline of jobs or steps has one stage, `__default`; one of steps has one job in it, `Job`."""

    name: Text
    variables: list[Variable]
    stages: list[Stage]
    resources: Mapping
    document: Mapping
    at: Place
    repositories: dict[str, Mapping] = field(default_factory=dict)


def read(document: Node) -> Pipeline:
    """The typed view of an expanded pipeline. Raises Fault for a key or a value that the service would not take."""
    root = _mapping(document)
    if "template" in root or "extends" in root:
        raise Fault("The pipeline is not expanded yet", root.at)
    body = [key for key in ("stages", "jobs", "steps") if key in root]
    if len(body) != 1:
        raise Fault("A pipeline has stages, jobs or steps, and only one of them", root.at)
    _known(root, _ROOT | set(body) | (_BODY if body == ["steps"] else set()))
    pool, lock = _pool(_get(root, "pool")), _text(root, "lockBehavior")
    if body == ["stages"]:
        stages = _stages(_items(root, "stages"), pool, lock)
    else:
        jobs = _jobs(_items(root, "jobs"), pool) if body == ["jobs"] else [_job(_body_job(root), 1, pool)]
        nothing = Text("", root.at)
        stages = [Stage(Text(DEFAULT_STAGE, root.at), nothing, [], None, [], jobs, lock, False, pool, root.at, root)]
    resources = _get(root, "resources")
    found = Pipeline(_text(root, "name"), _variables(root), stages, Mapping((), root.at), root, root.at)
    if isinstance(resources, Mapping):
        found.resources = resources
        found.repositories = {str(_text(_mapping(item), "repository")): _mapping(item) for item in _items(resources, "repositories")}
    return found


def _stages(items: Sequence, pool: Pool | None, lock: str) -> list[Stage]:
    stages: list[Stage] = []
    for number, item in enumerate(items, start=1):
        node = _mapping(item)
        if "stage" not in node:
            raise Fault("A stage begins with the key 'stage'", node.at)
        _known(node, _STAGE)
        name = _text(node, "stage") or Text(f"Stage{number}", node.at)
        own = _pool(_get(node, "pool")) or pool
        before = [stages[-1].name] if stages else []
        stages.append(
            Stage(
                name,
                _text(node, "displayName"),
                _depends_on(node, before),
                _condition(node),
                _variables(node),
                _jobs(_items(node, "jobs"), own),
                _text(node, "lockBehavior") or lock,
                _text(node, "trigger") == "manual",
                own,
                node.at,
                node,
            )
        )
    _unique([stage.name for stage in stages], "stage", "pipeline")
    return stages


def _jobs(items: Sequence, pool: Pool | None) -> list[Job]:
    jobs = [_job(_mapping(item), number, pool) for number, item in enumerate(items, start=1)]
    _unique([job.name for job in jobs], "job", "stage")
    return jobs


def _body_job(root: Mapping) -> Mapping:
    made = Mapping(((key, value) for key, value in root.items() if key in _BODY), root.at)
    return Mapping([(Text("job", root.at), Text(DEFAULT_JOB, root.at)), *made.items()], root.at)


def _job(node: Mapping, number: int, pool: Pool | None) -> Job:
    kind = next((key for key in ("job", "deployment") if key in node), "")
    if not kind:
        raise Fault("A job begins with the key 'job' or 'deployment'", node.at)
    _known(node, _JOB | ({"job", "steps"} if kind == "job" else {"deployment", "environment"}))
    strategy = _mapping(_get(node, "strategy") or Mapping((), node.at))
    environment, resource = _environment(node)
    workspace = _get(node, "workspace")
    job = Job(
        name=_text(node, kind) or Text(f"Job{number}", node.at),
        kind=kind,
        display_name=_text(node, "displayName"),
        depends_on=_depends_on(node, []),
        condition=_condition(node),
        continue_on_error=_truth(node, "continueOnError", False),
        timeout_in_minutes=_text(node, "timeoutInMinutes"),
        cancel_timeout_in_minutes=_text(node, "cancelTimeoutInMinutes"),
        pool=_pool(_get(node, "pool")) or pool,
        variables=_variables(node),
        strategy="",
        matrix={},
        max_parallel=_text(strategy, "maxParallel"),
        environment=environment,
        resource_name=resource,
        hooks={},
        steps=_steps(node) if kind == "job" else [],
        container=_get(node, "container"),
        services=_get(node, "services"),
        workspace_clean=_text(workspace, "clean") if isinstance(workspace, Mapping) else Text("", node.at),
        at=node.at,
        node=node,
    )
    if kind == "job":
        _legs(job, strategy)
    else:
        _hooks(job, strategy)
    return job


def _legs(job: Job, strategy: Mapping) -> None:
    _known(strategy, {"matrix", "maxParallel", "parallel"})
    job.strategy = next((key for key in ("matrix", "parallel") if key in strategy), "")
    if job.strategy == "parallel":
        job.matrix = _text(strategy, "parallel")
    elif job.strategy == "matrix":
        written = strategy[strategy.key("matrix")]
        job.matrix = written if isinstance(written, Text) else {leg: _texts(of) for leg, of in _mapping(written).items()}


def _hooks(job: Job, strategy: Mapping) -> None:
    _known(strategy, {"runOnce", "rolling", "canary"})
    job.strategy = next((str(key) for key in strategy), "")
    if not job.strategy:
        raise Fault("A deployment job needs a strategy: runOnce, rolling or canary", job.at)
    body = _mapping(strategy[strategy.key(job.strategy)])
    _known(body, {*HOOKS[:4], "on", "maxParallel", "increments"})
    ends = _mapping(_get(body, "on") or Mapping((), body.at))
    _known(ends, {"success", "failure"})
    for name in HOOKS:
        node = _get(ends, name[3:]) if name.startswith("on.") else _get(body, name)
        if node is not None:
            hook = _mapping(node)
            _known(hook, {"steps", "pool"})
            job.hooks[name] = Hook(_steps(hook), _pool(_get(hook, "pool")), hook.at)


def written_step(text: str, at: Place) -> Step:
    """A step that the service adds, such as `checkout: self`."""
    key, _, value = text.partition(": ")
    return _step(Mapping([(Text(key, at), Text(value, at))], at))


def _steps(node: Mapping) -> list[Step]:
    return [_step(_mapping(item)) for item in _items(node, "steps")]


def _step(node: Mapping) -> Step:
    kind = next((str(key) for key in node if key in KINDS), "")
    if not kind:
        raise Fault(f"Unexpected value '{next(iter(node), '')}': a step begins with one of {', '.join(KINDS)}", node.at)
    task, keys = KINDS[kind]
    _known(node, {kind} | keys | _STEP)
    value = _text(node, kind)
    inputs = _texts(_get(node, "inputs") or Mapping((), node.at))
    if kind != "task":
        inputs |= {key: _text(node, key) for key in node if key in keys and key != "inputs"}
    if kind in ("script", "bash", "powershell", "pwsh"):
        inputs[Text("script", value.at)] = value
        if kind != "script":
            inputs[Text("targetType", node.at)] = Text("inline", node.at)
        if kind == "pwsh":
            inputs[Text("pwsh", node.at)] = Text("true", node.at)
    elif kind != "task":
        inputs[Text({"publish": "targetPath", "upload": "targetPath", "download": "source"}.get(kind, kind), value.at)] = value
    name = _text(node, "name")
    return Step(
        kind=kind,
        task=value if kind == "task" else Text(task, node.at),
        name=name,
        display_name=_text(node, "displayName"),
        inputs=inputs,
        env=_texts(_get(node, "env") or Mapping((), node.at)),
        condition=_condition(node),
        continue_on_error=_truth(node, "continueOnError", False),
        enabled=_truth(node, "enabled", True),
        timeout_in_minutes=_text(node, "timeoutInMinutes"),
        retry_count=_text(node, "retryCountOnTaskFailure"),
        at=node.at,
        node=node,
    )


def _variables(node: Mapping) -> list[Variable]:
    written = _get(node, "variables") or Mapping((), node.at)
    if isinstance(written, Mapping):
        return [Variable(name, _scalar(value)) for name, value in written.items()]
    if isinstance(written, Text) and written:
        raise Fault(f"Unexpected value '{written}'", written.at)
    found = []
    for entry in written:
        item = _mapping(entry)
        if "group" in item:
            _known(item, {"group"})
            found.append(Variable(_text(item, "group"), Text("", item.at), group=True))
        else:
            _known(item, {"name", "value", "readonly"})
            found.append(Variable(_text(item, "name"), _text(item, "value"), _truth(item, "readonly", False)))
    return found


def _depends_on(node: Mapping, default: list[Text]) -> list[Text]:
    written = _get(node, "dependsOn")
    if written is None:
        return default
    if isinstance(written, Text):
        return [written] if written else []
    return [_scalar(item) for item in written]


def _condition(node: Mapping) -> Text | None:
    return _text(node, "condition") or None


def _environment(node: Mapping) -> tuple[Text, Text]:
    written = _get(node, "environment") or Text("", node.at)
    if isinstance(written, Text):
        name, _, resource = written.partition(".")
        return Text(name, written.at), Text(resource, written.at)
    found = _mapping(written)
    _known(found, {"name", "resourceName", "resourceId", "resourceType", "tags"})
    return _text(found, "name"), _text(found, "resourceName")


def _pool(written: Node | None) -> Pool | None:
    if written is None or written == "":
        return None
    if isinstance(written, Text):
        return Pool(written, Text("", written.at), written.at)
    found = _mapping(written)  # any other key is left alone, as by the service's schema: templates of some pools read them
    return Pool(_text(found, "name"), _text(found, "vmImage"), found.at)


def _unique(names: list[Text], kind: str, within: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise Fault(f"The {kind} name {name} appears more than once. {kind.title()} names must be unique within a {within}.", name.at)
        seen.add(name.lower())


def _known(node: Mapping, keys: Collection[str]) -> None:
    for key in node:
        if key not in keys:
            raise Fault(f"Unexpected value '{key}'", key.at)


def _items(node: Mapping, key: str) -> Sequence:
    found = _get(node, key) or Sequence((), node.at)
    if isinstance(found, Text) and not found:
        return Sequence((), found.at)
    if not isinstance(found, Sequence):
        raise Fault("Expected a sequence", found.at)
    return found


def _mapping(node: Node) -> Mapping:
    if not isinstance(node, Mapping):
        raise Fault(f"Expected a mapping, found {node!r}" if isinstance(node, Text) else "Expected a mapping", node.at)
    return node


def _scalar(node: Node) -> Text:
    if not isinstance(node, Text):
        raise Fault("Expected a text", node.at)
    return node


def _get(node: Mapping, key: str) -> Node | None:
    return node.get(Text(key, node.at))


def _text(node: Mapping, key: str) -> Text:
    found = _get(node, key)
    return _scalar(found) if found is not None else Text("", node.at)


def _texts(node: Node) -> dict[Text, Text]:
    if isinstance(node, Text) and not node:
        return {}
    return {key: _scalar(value) for key, value in _mapping(node).items()}


def _truth(node: Mapping, key: str, default: bool) -> bool:
    written = _text(node, key)
    if written and written.lower() not in _TRUE | _FALSE:
        raise Fault(f"Unexpected value '{written}': true or false", written.at)
    return written.lower() in _TRUE if written else default
