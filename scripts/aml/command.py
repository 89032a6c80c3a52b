"""What every verb's command line has in common: flags that come from the environment, and how it ends.

Ends: 0 done, 1 an expected failure in one line, 2 wrong usage, 3 the limit of a wait was reached, 130/143 interrupted;
a bug keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from aml import ci

LIMIT_REACHED = 3


class Refusal(Exception):
    """An expected failure: what happened, why, and the fix. `run` prints it as one line and ends with `code`."""

    def __init__(self, what: str, why: str = "", fix: str = "", *, code: int = 1) -> None:
        self.what, self.why, self.fix, self.code = what, why, fix, code
        super().__init__(str(self))

    def __str__(self) -> str:
        sentences = (self.what, self.why, f"Fix: {self.fix}" if self.fix else "")
        return " ".join(" ".join(text.split()).rstrip(".") + "." for text in sentences if text.strip())


class LimitReached(Refusal):
    """A wait ended at its limit while the work went on. Ends with exit code 3; `fix` says how to resume."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix, code=LIMIT_REACHED)


class Parser(argparse.ArgumentParser):
    """A parser that also says of a missing flag which variable the pipeline lacks."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.unresolved: dict[str, str] = {}  # flag: the variable that its value should have come from

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with 2."""
        for flag, name in self.unresolved.items():
            if re.search(rf"required: .*{flag}\b", message):
                message += (
                    f". {variable(flag)} is $({name}), and the pipeline has no variable {name}. Fix: define it or correct its name; "
                    "an output of a step is $(<step's name>.<output>), and of another job only what a variable of this job fetches"
                )
        super().error(ci.plain(message))


def parser(doc: str | None, *, workspace: bool = True) -> Parser:
    """A parser whose description is the first paragraph of the verb's docstring, with `--project` and `--workspace`."""
    description = " ".join((doc or "").split("\n\n")[0].split())
    made = Parser(description=description, allow_abbrev=False)
    argument(made, "--project", default=".", type=Path, help="Folder of the project; the paths in its specs are relative to it.")
    if workspace:
        argument(made, "--workspace", required=True, help="Name of the workspace spec: .cloud/workspaces/<name>.yml.")
    return made


def variable(flag: str) -> str:
    """The environment variable that a flag comes from: `--job-name` is AML_JOB_NAME."""
    return "AML_" + flag.lstrip("-").replace("-", "_").upper()


def argument(
    to: argparse.ArgumentParser,
    flag: str,
    *,
    help: str,
    type: Callable[[str], Any] = str,
    default: Any = None,
    required: bool = False,
    choices: Sequence[str] | None = None,
) -> None:
    """Add a flag that may also come from the environment.

    A flag of type `boolean` needs no value: `--apply` is `--apply=true`.
    An empty variable counts as absent: CI systems set unused inputs to ''. So does a macro that Azure DevOps could not resolve; a flag
    that can do without says so in a warning, and the error for one that can't names the variable that the pipeline lacks.
    """
    name = variable(flag)
    given = ci.setting(name) or None
    if lacking := ci.unresolved(name):
        if required and isinstance(to, Parser):
            to.unresolved[flag] = lacking
        else:
            ci.warning(f"{name} is $({lacking}), and the pipeline has no variable {lacking}; it counts as not set.")
    if given is not None:
        try:
            given = type(given)
        except (ValueError, argparse.ArgumentTypeError) as error:
            to.error(f"{name}: {error or f'{given!r} is not valid'}")
        if choices and given not in choices:
            to.error(f"{name}: {given!r} is none of {', '.join(choices)}")
    to.add_argument(
        flag,
        type=type,
        nargs="?" if type is boolean else None,
        const=True if type is boolean else None,
        default=default if given is None else given,
        required=required and given is None,
        choices=choices,
        metavar=None if choices else flag.lstrip("-").replace("-", "_").upper(),
        help=f"{help} (or {name})",
    )


def boolean(text: str) -> bool:
    """'true' or 'false' in any case (Azure DevOps writes True); anything else is an error, never silently true.

    Use as `argument(..., type=boolean, default=False)`.
    """
    try:
        return {"true": True, "false": False}[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def identifier(text: str) -> str:
    """The name of a job, deployment or version: it becomes part of an address, so nothing else may be in it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: letters, digits, - _ and . only, a letter or digit first")
    return text


def run(main: Callable[[], int]) -> NoReturn:
    """Run a verb and end the process. Ctrl-C, SIGTERM and a lost terminal all let `finally` blocks restore what they must."""
    for name in _ENDINGS:
        signal.signal(name, _interrupted)
    try:
        code = main()
    except _Interrupted as interrupted:
        code = 128 + interrupted.args[0]
        with contextlib.suppress(OSError):  # the terminal may be gone
            ci.error("Interrupted.")
    except Exception as error:
        refusal = _explained(error)
        if refusal is None:  # a bug; but what others wrote may be in it, and Azure DevOps reads commands from standard error too
            print(ci.plain(traceback.format_exc()), file=sys.stderr, flush=True)
        else:
            ci.error(str(refusal))
        code = refusal.code if refusal else 1
    sys.stdout.flush()
    sys.exit(code)


class _Interrupted(KeyboardInterrupt):
    """A signal ended the verb; its number is the argument."""


# GitHub cancels with SIGINT, then SIGTERM; a runner or terminal that goes away is SIGHUP, which Windows has not.
_ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Once is enough: a second one must not interrupt the restoring. Not SIG_IGN: Python complains about one that is pending then.
    for name in _ENDINGS:
        signal.signal(name, _unheard)
    raise _Interrupted(number)


def _unheard(number: int, frame: FrameType | None) -> None:
    pass


def _explained(error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Refusal("The disk is full", f"Writing {error.filename or 'a file'} failed", "free some space and run this again")
    if "azure.core" in sys.modules:
        from aml.azure import explain

        return explain(error)
    return None
