"""How much can go wrong with a release: one list of rules, each with its level and with the words that a person reads.

A release is as risky as the worst rule that applies. No rule forbids anything; the gates do that. Where something is not known, the rule
that would need it applies: what nobody supplied is never a good sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aml.changes import CHANGED, SAME, UNKNOWN, WORSE
from aml.plain import figure
from aml.proof import OWN, PASSED, SIGNED

LEVELS = ("low", "medium", "high")
MANY = 50  # commits in one release

Dossier = Mapping[str, Any]
Rule = tuple[str, str, Callable[[Dossier], str]]


def classify(document: Dossier) -> dict[str, Any]:
    """The class of a dossier's release, and the rules that apply, worst first."""
    found = [{"rule": name, "level": level, "says": says} for name, level, applies in RULES if (says := applies(document))]
    found.sort(key=lambda one: -LEVELS.index(one["level"]))
    return {"class": found[0]["level"] if found else LEVELS[0], "reasons": found}


def _part(document: Dossier, name: str, *changes: str) -> str:
    for one in document["changes"]["parts"]:
        if one["part"] == name and one["change"] in changes:
            return f"{name}: {one['before'] or 'not supplied'} → {one['after'] or 'not supplied'}"
    return ""


def _files(document: Dossier, *roles: str) -> str:
    named = [one["path"] for one in document["changes"]["files"] if one["change"] != SAME and one["role"] in roles]
    return f"changed: {', '.join(named[:6])}{' and more' if len(named) > 6 else ''}" if named and document["champion"] else ""


def _first(document: Dossier) -> str:
    return "nothing runs in production yet, so there is nothing to compare with or to go back to" if document["live"] == "nothing" else ""


def _unknown(document: Dossier) -> str:
    return "what runs in production is not known" if document["live"] == "unknown" else ""


def _proof(document: Dossier) -> str:
    lacking = [one for one in document["proof"] if one["state"] != PASSED]
    named = [f"{one['verb']} in {one['workspace']} ({one['state']})" for one in lacking]
    return f"not proven: {', '.join(named[:8])}{' and more' if len(named) > 8 else ''}" if named else ""


def _refused(document: Dossier) -> str:
    named = [f"{one['verb']} in {one['workspace']}: {one['signature_says']}" for one in document["proof"] if one["signature"] == "refused"]
    return f"signatures that do not fit: {'; '.join(named[:3])}" if named else ""


def _unsigned(document: Dossier) -> str:
    there = [one for one in document["proof"] if one["finished"]]
    count = sum(one["signature"] not in (SIGNED, OWN) for one in there)
    return f"{count} of {len(there)} statements are not signed" if count else ""


def _broken(document: Dossier) -> str:
    found = document["control"]["break_glass"]
    return f"{found['who']} broke the glass: rules of the gate are waived, because: {found['why']}" if found else ""


def _held(document: Dossier) -> str:
    found = document["control"]["hold"]
    return found["says"] if found["state"] == "held" else ""


def _frozen(document: Dossier) -> str:
    found = document["control"]["freeze"]
    return found["says"] if found["state"] == "frozen" else ""


def _other_champion(document: Dossier) -> str:
    compared = document["control"]["compared_with"]
    now = (document["champion"] or {}).get("id")
    return f"the gate compared with {compared}, and production now runs {now}" if compared and compared != now else ""


def _worse(document: Dossier) -> str:
    lost = [one for one in document["changes"]["metrics"] if one["change"] == WORSE]
    named = [f"{one['name']} ({figure(one['champion'])} → {figure(one['candidate'])})" for one in lost]
    return f"worse than production: {', '.join(named[:6])}" if named else ""


def _lost(document: Dossier) -> str:
    commits = document["people"]["commits"]
    lost = commits["lost"] if commits else 0
    return f"production has {lost} commit{'s' if lost > 1 else ''} that this release does not have" if lost else ""


def _many(document: Dossier) -> str:
    total = (document["people"]["commits"] or {"total": 0})["total"]
    return f"{total} commits at once" if total > MANY and document["champion"] else ""


def _authors(document: Dossier) -> str:
    return "" if document["people"]["commits"] else "who wrote it is not known, so nobody can be kept from approving their own work"


def _trainer(document: Dossier) -> str:
    trainer = document["people"]["trainer"]
    return "who started the training is not known" if not trainer or not trainer["person"] else ""


def _dirty(document: Dossier) -> str:
    trainer = document["people"]["trainer"]
    return "the model was trained from files that were in no commit" if trainer and trainer["uncommitted"] else ""


def _nobody(document: Dossier) -> str:
    approvers = document["people"]["approvers"]
    if not approvers or approvers["teams"] or len(approvers["left"]) >= approvers["count"]:
        return ""
    return f"{approvers['count']} must approve, and {len(approvers['left'])} of those named may"


def _ungated(document: Dossier) -> str:
    return "" if document["people"]["approvers"] else "no gate is written down for the environment"


def _exceptions(document: Dossier) -> str:
    named = [one["what"] for one in document["control"]["exceptions"]]
    return "; ".join(named)


def _way_back(document: Dossier) -> str:
    if not document["rollback"]:
        return ""
    gone = [one["what"] for one in document["rollback"]["proof"] if one["state"] != "there"]
    return f"not proven of what to go back to: {', '.join(gone)}" if gone else ""


def _at_once(document: Dossier) -> str:
    return "all traffic moves in one step" if len(document["rollout"]["steps"]) == 1 and document["champion"] else ""


def _fewer(document: Dossier) -> str:
    for one in document["changes"]["parts"]:
        if one["part"] == "instances" and one["change"] == CHANGED and int(one["after"]) < int(one["before"]):
            return f"{one['after']} instances instead of {one['before']}"
    return ""


def _quota(document: Dossier) -> str:
    found = document["where"]["quota"]
    return "" if not found or found["fits"] else f"the quota does not suffice: {found['says']}"


def _room(document: Dossier) -> str:
    return "" if document["where"]["quota"] else "whether production's quota suffices is not known"


def _dependencies(document: Dossier) -> str:
    found = document["changes"]["dependencies"]
    if not document["champion"]:
        return ""
    if found is None:
        return "what is installed beside the model can't be compared"
    names = [one["name"] for one in found]
    return f"changed: {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}" if names else ""


RULES: list[Rule] = [
    ("break-glass", "high", _broken),
    ("held", "high", _held),
    ("in a freeze", "high", _frozen),
    ("first release", "high", _first),
    ("unknown production", "high", _unknown),
    ("proof is missing", "high", _proof),
    ("a signature does not fit", "high", _refused),
    ("compared with another version", "high", _other_champion),
    ("older than production", "high", _lost),
    ("no way back", "high", _way_back),
    ("unknown authors", "high", _authors),
    ("no gate", "high", _ungated),
    ("nobody may approve", "high", _nobody),
    ("the gate can be passed by", "high", _exceptions),
    ("who may act has changed", "high", lambda document: _files(document, "workspace", "identity")),
    ("what decides has changed", "high", lambda document: _files(document, "gate", "smoke", "release")),
    ("uncommitted files", "high", _dirty),
    ("another kind of model", "high", lambda document: _part(document, "kind of model", CHANGED)),
    ("too little quota", "high", _quota),
    ("unknown quota", "medium", _room),
    ("a figure is worse", "medium", _worse),
    ("new scoring code", "medium", lambda document: _part(document, "scoring code", CHANGED)),
    ("new scoring environment", "medium", lambda document: _part(document, "scoring environment", CHANGED)),
    ("new dependencies", "medium", _dependencies),
    ("another machine", "medium", lambda document: _part(document, "machine", CHANGED, UNKNOWN) if document["champion"] else ""),
    ("fewer instances", "medium", _fewer),
    ("new settings", "medium", lambda document: _files(document, "endpoint", "deployment", "other")),
    ("other data", "medium", lambda document: _part(document, "training data", CHANGED)),
    ("another catalog", "medium", lambda document: _part(document, "catalog", CHANGED)),
    ("many commits", "medium", _many),
    ("all at once", "medium", _at_once),
    ("unknown trainer", "medium", _trainer),
    ("not signed", "medium", _unsigned),
    ("another model", "low", lambda document: _part(document, "model", CHANGED)),
]
