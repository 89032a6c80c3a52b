"""Every rule: its id, how bad it is, why it is one, and where that is said.

`error`: the service refuses it, or it does something other than it says, or it opens the pipeline to others. `warning`: it works today.
A rule that has no function here is found by the expansion, the schema, the graph or the reading of suppressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from azure_pipelines.nodes import Place

from . import deployments, scripts, supply, written
from .subject import Source, Subject

Found = Iterator[tuple[Place, str]]
_L = "https://learn.microsoft.com/azure/devops/pipelines"
_TASKS = f"{_L}/tasks/reference"


@dataclass(frozen=True)
class Rule:
    """One rule. `pipeline` looks at expanded pipelines, `file` at files as they were written."""

    id: str
    level: str
    reason: str
    link: str
    pipeline: Callable[[Subject], Found] | None = None
    file: Callable[[Source], Found] | None = None


RULES: list[Rule] = [
    # What the service refuses.
    Rule("expansion", "error", "A pipeline that can't be expanded is not started.", f"{_L}/process/templates"),
    Rule("unexpanded-template", "warning", "No pipeline here includes it, and made-up values do not suit it: give --parameter.",
         f"{_L}/process/templates"),
    Rule("schema", "error", "A key, value or order of keys that the service's schema has no room for.", f"{_L}/yaml-schema"),
    Rule("unknown-task", "warning", "A task that is not installed stops the run before it begins.", _TASKS),
    Rule("invalid-name", "error", "Names of stages, jobs and steps have letters, digits and _, and no digit first.",
         f"{_L}/yaml-schema/jobs-job"),
    Rule("duplicate-name", "error", "A name that two steps of a job have says nothing.", f"{_L}/yaml-schema/steps-task"),
    Rule("reserved-name", "error", "`deploy` is the name of a hook; a deployment job called so hangs or is refused.",
         f"{_L}/process/deployment-jobs"),
    Rule("unknown-dependency", "error", "What is not there can't be waited for.", f"{_L}/process/stages#specify-dependencies"),
    Rule("dependency-cycle", "error", "What waits for itself never starts.", f"{_L}/process/stages#specify-dependencies"),
    Rule("unknown-repository", "error", "A checkout names a repository resource or self.", f"{_L}/repos/multi-repo-checkout"),
    Rule("invalid-condition", "error", "A condition has a language and names of its own at each level.", f"{_L}/process/conditions"),
    Rule("invalid-expression", "error", "What stands in $[ ] is evaluated before the job starts, and must parse.",
         f"{_L}/process/expressions"),
    Rule("runtime-syntax-in-condition", "error", "A condition is an expression; $[ ] around it is no part of one.",
         f"{_L}/process/conditions"),
    Rule("stage-condition-context", "error", "The condition of a stage knows dependencies, not stageDependencies.",
         f"{_L}/process/deployment-jobs"),
    Rule("template-not-first", "error", "An include is known by its first key.", f"{_L}/yaml-schema", file=written.template_not_first),
    Rule("inline-script-ignored", "error", "Several tasks run a file unless they are told that the script is inline.",
         f"{_TASKS}/bash-v3", scripts.inline_ignored),
    Rule("agentless-task", "error", "ManualValidation needs pool: server, and scripts an agent.",
         f"{_TASKS}/manual-validation-v1", deployments.server_task),
    Rule("retired-image", "error", "A job on a removed image fails.", f"{_L}/agents/hosted", deployments.retired_image),
    Rule("artifact-published-twice", "error", "A name of an artifact can be used once in a run.",
         f"{_L}/artifacts/pipeline-artifacts", supply.artifact_twice),
    Rule("unknown-artifact", "error", "A download of what nothing publishes fails.",
         f"{_L}/artifacts/pipeline-artifacts", supply.unknown_artifact),
    # What does something other than it says.
    Rule("unknown-output", "error", "An output of a job or step that is not there is empty text.", f"{_L}/process/set-variables-scripts"),
    Rule("indirect-dependency", "error", "Only outputs and results of direct dependencies are visible; all else is empty.",
         f"{_L}/process/expressions#dependencies"),
    Rule("wrong-output-context", "error", "`dependencies` and `stageDependencies` are for different places; the wrong one is empty.",
         f"{_L}/process/expressions#dependencies"),
    Rule("output-key-form", "error", "Jobs, matrix legs and hooks each name their outputs in their own way; any other key is empty.",
         f"{_L}/process/deployment-jobs"),
    Rule("output-without-name", "error", "An output is read by the name of its step.", f"{_L}/process/set-variables-scripts"),
    Rule("output-of-another-job", "error", "$(step.variable) is filled in only in the step's own job.",
         f"{_L}/process/set-variables-scripts"),
    Rule("output-read-without-step", "error", "In its own job an output is $(step.variable), and $(variable) stays as it is.",
         f"{_L}/process/set-variables-scripts", scripts.output_without_step),
    Rule("variable-used-in-own-step", "error", "A variable that a step sets is there from the next step on.",
         f"{_L}/scripts/logging-commands", scripts.used_in_own_step),
    Rule("env-of-a-variable", "error", "A variable of a pipeline goes before what a step's env says of the same name.",
         f"{_L}/process/variables#environment-variables", scripts.env_of_a_variable),
    Rule("macro-not-expanded", "error", "$( ) is filled in before a step runs, and nowhere else.",
         f"{_L}/process/variables#understand-variable-syntax"),
    Rule("runtime-expression-not-evaluated", "error", "$[ ] is evaluated only as the whole value of a variable or of a few keys of a job.",
         f"{_L}/process/variables#understand-variable-syntax"),
    Rule("runtime-variable-at-compile-time", "error", "${{ }} is evaluated before the run; what only the run knows is empty in it.",
         f"{_L}/build/variables", file=written.runtime_variable_at_compile_time),
    Rule("boolean-as-text", "error", "A parameter without type: boolean is text, and the text 'false' is true.",
         f"{_L}/process/template-parameters", file=written.boolean_as_text),
    Rule("unused-parameter", "warning", "A parameter that nothing reads promises what it doesn't keep.",
         f"{_L}/process/template-parameters", file=written.parameter_never_used),
    Rule("checkout-without-path", "error", "A second checkout moves the first into a folder of its own.",
         f"{_L}/repos/multi-repo-checkout", supply.checkout_without_path),
    Rule("script-without-checkout", "error", "The files of a template's repository are not on the agent.",
         f"{_L}/process/templates#use-other-repositories", supply.script_without_checkout),
    Rule("traced-logging-command", "error", "set -x repeats ##vso commands with quotes that become part of their values.",
         f"{_L}/scripts/logging-commands", scripts.traced_command),
    # Failures that go on.
    Rule("continue-on-error", "error", "A failed step that counts as done is how broken models reach production.",
         f"{_L}/process/tasks", deployments.continue_on_error),
    Rule("condition-without-status", "warning", "A condition of one's own replaces succeeded(): the step runs after failures too.",
         f"{_L}/process/conditions", deployments.condition_without_status),
    Rule("always-deploys", "error", "always() on a deployment deploys what failed or was canceled.",
         f"{_L}/process/conditions", deployments.always_deploys),
    Rule("failure-swallowed", "warning", "`|| true` makes a step green whatever happened.", f"{_TASKS}/bash-v3", scripts.swallowed),
    Rule("failure-unnoticed", "warning", "A shell script goes on after a failed command, and only the last exit code counts.",
         f"{_TASKS}/bash-v3", scripts.unnoticed),
    Rule("results-on-success-only", "warning", "Test results matter most when a test failed.",
         f"{_TASKS}/publish-test-results-v2", deployments.results_on_success_only),
    Rule("standard-error-fails", "warning", "Progress and warnings go to standard error; a step that fails on them fails at random.",
         f"{_TASKS}/bash-v3", scripts.stderr_fails),
    Rule("approval-by-timeout", "error", "An approval that nobody gave is none.",
         f"{_TASKS}/manual-validation-v1", deployments.approval_by_timeout),
    Rule("missing-timeout", "warning", "Without timeoutInMinutes a job is cut off after 60, wherever it is.",
         f"{_L}/process/phases#timeouts", deployments.missing_timeout),
    Rule("missing-lock-behavior", "warning", "With an exclusive lock the default drops all but the newest waiting run.",
         f"{_L}/process/approvals#exclusive-lock", deployments.missing_lock_behavior),
    Rule("artifact-not-rerunnable", "warning", "A job that is run again can't publish a name that it published before it failed.",
         f"{_L}/artifacts/pipeline-artifacts", supply.artifact_once_a_run),
    # Who may do what.
    Rule("parameter-in-script", "error", "What ${{ }} brings becomes part of the script before any shell can quote it.",
         f"{_L}/security/inputs", file=scripts.parameter_in_script),
    Rule("untrusted-variable-in-script", "error", "Who names a branch or writes a commit message then writes the script.",
         f"{_L}/security/inputs", scripts.untrusted_macro),
    Rule("secret-in-script", "error", "A secret in $( ) is written into a script file, and its characters are the shell's.",
         f"{_L}/process/set-secret-variables", scripts.secret_macro),
    Rule("secret-not-marked", "error", "A variable without issecret=true is printed, passed on to every step, and stored.",
         f"{_L}/scripts/logging-commands#setvariable-initialize-or-modify-the-value-of-a-variable", scripts.secret_not_marked),
    Rule("secret-printed", "error", "What is printed stays in the log; masking is a best effort.",
         f"{_L}/security/misc#logging-of-secrets", scripts.secret_printed),
    Rule("secret-on-command-line", "error", "Command lines are seen by every process and kept in logs of the machine.",
         f"{_L}/security/misc#logging-of-secrets", scripts.secret_on_command_line),
    Rule("secret-in-file", "error", "A secret in YAML is readable by whoever reads the repository, for ever.",
         f"{_L}/process/set-secret-variables", file=scripts.plain_secret),
    Rule("connection-by-variable", "error", "Whoever sets the variable chooses the identity, and what the run sets is too late.",
         f"{_L}/library/service-endpoints", deployments.connection_by_variable),
    Rule("environment-by-variable", "error", "Whoever sets the variable chooses which approvals apply.",
         f"{_L}/process/environments", deployments.environment_by_variable),
    Rule("deployment-without-environment", "error", "Approvals, checks and locks are on the environment.",
         f"{_L}/process/environments", deployments.without_environment),
    Rule("production-outside-environment", "error", "Only a deployment job waits for the approvals of an environment.",
         f"{_L}/process/approvals", deployments.production_outside_environment),
    Rule("production-by-branch-name", "error", "Build.SourceBranchName is the last part of a branch: users/x/main is main.",
         f"{_L}/build/variables", file=deployments.production_by_name),
    Rule("implicit-trigger", "warning", "A pipeline without trigger: runs for every push to every branch.",
         f"{_L}/repos/azure-repos-git#ci-triggers", deployments.implicit_trigger),
    Rule("token-in-plain-job", "warning", "System.AccessToken lets code of a pull request act as the build service.",
         f"{_L}/security/misc", deployments.token_in_plain_job),
    Rule("pull-request-with-secrets", "error", "A pull request can change the steps that get the secrets.",
         f"{_L}/repos/github#forks", deployments.secrets_in_pull_request),
    Rule("persisted-credentials", "error", "The token stays in .git/config for every later step.",
         f"{_L}/yaml-schema/steps-checkout", supply.persisted_credentials),
    Rule("global-login", "warning", "A login in the agent user's folder outlives the job.",
         f"{_TASKS}/azure-cli-v2", deployments.global_login),
    # What a run is made of.
    Rule("unpinned-repository", "error", "Whoever pushes to the branch of a template changes every pipeline that uses it.",
         f"{_L}/process/templates#use-other-repositories", file=supply.unpinned_repository),
    Rule("unpinned-container", "warning", "An image without a version is another one tomorrow.",
         f"{_L}/process/container-phases", file=supply.unpinned_container),
    Rule("unpinned-install", "warning", "A package without a version broke, or worse, is what somebody published an hour ago.",
         f"{_L}/ecosystems/python", scripts.unpinned_install),
    Rule("floating-image", "warning", "-latest becomes another system on a day of Microsoft's choosing.",
         f"{_L}/agents/hosted", deployments.floating_image),
    Rule("task-without-version", "error", "A task without a major version changes its meaning with the next one.",
         f"{_L}/process/tasks#task-versions", supply.task_without_version),
    Rule("deprecated-task", "warning", "A deprecated task gets no fixes and is removed.", _TASKS, supply.deprecated_task),
    Rule("piped-to-shell", "error", "What a server sends at that moment is run with all rights of the job.",
         f"{_L}/security/overview", scripts.piped_to_shell),
    Rule("evaluated-text", "error", "A command put together as text runs what its parts contain.",
         f"{_L}/security/inputs", scripts.evaluated),
    # Suppressions.
    Rule("suppression-without-reason", "error", "A suppression says why, for the next reader.", f"{_L}/yaml-schema"),
    Rule("unused-suppression", "warning", "A suppression that hides nothing would hide the next fault.", f"{_L}/yaml-schema"),
]  # fmt: skip
LEVELS = {rule.id: rule.level for rule in RULES}
