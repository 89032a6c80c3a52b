"""A dossier as Markdown: for the page of a run, and in at most 1,024 characters for a protection rule.

Source of the latter's limit: "Creating custom deployment protection rules" (docs.github.com): a status report is Markdown of up to 1,024
characters. What others wrote is escaped by `report.safe`, so none of it can be a link, a table or a heading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aml import plain
from aml.report import safe

LIMIT = 1024  # characters
ROWS = 30
NOT_SUPPLIED = "**not supplied**"
ARROWS = {"better": "better", "worse": "**worse**", "same": "the same", "changed": "changed", "unknown": "not comparable"}

Dossier = Mapping[str, Any]


def markdown(document: Dossier, dossier_id: str) -> str:
    """The whole dossier, as a section of a run's summary."""
    return "\n".join(_lines(document, dossier_id)) + "\n"


def short(document: Dossier, dossier_id: str) -> str:
    """What matters most, in at most LIMIT characters. What does not fit is left out from the end, but never the ids."""
    new, risk = document["bundle"], document["risk"]
    ids = f"Bundle `{new['id']}`\nDossier `{dossier_id}`"
    glass = document["control"]["break_glass"]
    lines = ["**BREAK-GLASS**: rules of the gate are waived for this run"] if glass else []
    lines += [f"**{safe(title(document), 120)}**: {risk['class']} risk"]
    lines += [f"The reason: {safe(glass['why'], 120)}", f"Review due {glass['until']}"] if glass else []
    lines += [f"Not supplied: {len(document['missing'])}"] if document["missing"] else []
    lines += [f"Proof: {proofs(document)}"]
    lines += [f"Way back: {safe(way_back(document), 120)}", f"May approve: {safe(approvers(document), 160)}"]
    lines += [f"{safe(one['name'], 40)}: {moved(one)}" for one in document["changes"]["metrics"] if one["gated"]][:4]
    lines += [f"{one['level']}: {safe(one['rule'], 40)}, {safe(one['says'], 120)}" for one in risk["reasons"]]
    lines += [f"Not supplied: {safe(one['what'], 80)}" for one in document["missing"]]
    made = ""
    for line in lines:
        if len(made) + len(line) + len("  \n") + len(ids) <= LIMIT:
            made += f"{line}  \n"
    return made + ids


def title(document: Dossier) -> str:
    """What happens, in a few words."""
    new, old = document["bundle"], document["champion"]
    before = f"{old['version']} → " if old else ""
    return f"{new['model']} {before}{new['version']} to {document['where']['workspace']}"


def broken(document: Dossier) -> str:
    """That the glass is broken, as plain words."""
    found = document["control"]["break_glass"]
    return (
        f"{found['who']} declared an emergency: freeze, soak, ticket, missing or old evidence and a part of the approvals are waived "
        f"for this run. To be reviewed by {found['until']}."
    )


def moved(one: Mapping[str, Any]) -> str:
    """A figure before and now, as Markdown."""
    now, before = (NOT_SUPPLIED if one[side] is None else safe(plain.figure(one[side]), 40) for side in ("candidate", "champion"))
    return f"{now}, nothing to compare with" if one["champion"] is None else f"{before} → {now} ({ARROWS[one['change']]})"


def proofs(document: Dossier) -> str:
    """How much of what is needed is proven, as plain words."""
    needed = [one for one in document["proof"] if one["required"]]
    passed = sum(one["state"] == "passed" for one in needed)
    failed = sum(one["state"] == "failed" for one in document["proof"])
    return f"{passed} of {len(needed)} needed pieces passed" + (f", {failed} failed" if failed else "")


def way_back(document: Dossier) -> str:
    """What to go back to, as plain words."""
    back = document["rollback"]
    if not back:
        return "none, this is the first release" if document["live"] == "nothing" else "not supplied"
    there = all(one["state"] == "there" for one in back["proof"])
    return f"{back['alias']}, {'still there' if there else 'NOT all of it is there'}"


def approvers(document: Dossier) -> str:
    """Who may approve, as plain words."""
    found = document["people"]["approvers"]
    if not found:
        return "not supplied"
    who = [f"team {name}" for name in found["teams"]] + found["left"]
    but = [one["name"] for one in found["barred"][:6]] + (["others"] if found["barred_count"] > 6 else [])
    return f"{found['count']} of {', '.join(who) or 'nobody'}" + (f"; not {', '.join(but)}" if but else "")


def _lines(document: Dossier, dossier_id: str) -> Iterator[str]:
    new, risk, people, where, control = (document[part] for part in ("bundle", "risk", "people", "where", "control"))
    yield f"## Dossier: {safe(title(document))}"
    yield ""
    if glass := control["break_glass"]:
        yield f"**BREAK-GLASS**: {safe(broken(document))} The reason: {safe(glass['why'], 450)}"
        yield ""
        if glass["review"] and _linkable(glass["review"]):
            yield f"[The review afterwards]({glass['review']})"
            yield ""
    yield f"Risk **{risk['class']}**. Proof: {safe(proofs(document))}. Way back: {safe(way_back(document))}."
    yield f"May approve: {safe(approvers(document))}."
    yield ""
    yield f"Bundle `{new['id']}`, dossier `{dossier_id}`, compiled {document['compiled']}."
    if document["missing"]:
        yield ""
        yield f"### Not supplied: {len(document['missing'])}"
        yield ""
        yield from (f"- {NOT_SUPPLIED}: {safe(one['what'])} ({safe(one['why'])})" for one in document["missing"][:ROWS])
        yield from _more(document["missing"])
    yield ""
    yield "### What changes"
    yield ""
    yield "| | in production | this release | |"
    yield "| --- | --- | --- | --- |"
    for one in document["changes"]["metrics"]:
        before, now = (NOT_SUPPLIED if one[side] is None else safe(plain.figure(one[side]), 40) for side in ("champion", "candidate"))
        yield f"| {safe(one['name'])} | {before} | {now} | {ARROWS[one['change']]} |"
    for one in document["changes"]["parts"]:
        before, now = (NOT_SUPPLIED if one[side] is None else safe(one[side]) for side in ("before", "after"))
        yield f"| {safe(one['part'])} | {'' if one['change'] == 'new' else before} | {now} | {one['change']} |"
    changed = [one for one in document["changes"]["files"] if one["change"] != "same" and document["champion"]]
    yield from (f"| {safe(one['path'])} | | | {one['change']} {safe(one['note'])} |" for one in changed[:ROWS])
    for one in (document["changes"]["dependencies"] or [])[:ROWS]:
        yield f"| {safe(one['name'])} | {safe(one['before'] or 'none')} | {safe(one['after'] or 'none')} | changed |"
    yield ""
    yield "### Who"
    yield ""
    authors = ", ".join(f"{safe(one['name'], 60)} ({one['commits']})" for one in people["authors"][:ROWS])
    yield f"- Wrote it: {authors or NOT_SUPPLIED}"
    trainer = people["trainer"]
    yield f"- Trained it: {safe(trainer['person']) if trainer and trainer['person'] else NOT_SUPPLIED}" + (
        f", by {safe(trainer['submitted_by'])}" if trainer else ""
    )
    yield f"- Started this run: {safe(people['initiator']) if people['initiator'] else NOT_SUPPLIED}"
    yield ""
    yield "### Proof"
    yield ""
    yield "| | verb | workspace | finished | signature |"
    yield "| --- | --- | --- | --- | --- |"
    for one in document["proof"][:ROWS]:
        state = one["state"] if one["state"] == "passed" else f"**{one['state']}**"
        link = f"[{one['finished']}]({one['run']})" if one["run"] and _linkable(one["run"]) else one["finished"] or ""
        yield f"| {state} | {safe(one['verb'])} | {safe(one['workspace'])} | {link} | {one['signature'] if one['finished'] else ''} |"
        yield from (f"| | | | {safe(line)} | |" for line in one["failed"])
    yield from _more(document["proof"])
    yield ""
    yield "### Where, how, and back"
    yield ""
    yield f"- Endpoint {safe(where['endpoint'])} in {safe(where['azure'])}, deployment {safe(where['deployment'])}"
    machine, cost, quota = where["machine"], where["cost"], where["quota"]
    yield f"- Machine: {machine['instances']} x {safe(machine['size'])}" if machine else f"- Machine: {NOT_SUPPLIED}"
    yield f"- Quota: {safe(quota['says']) if quota else NOT_SUPPLIED}"
    yield (
        f"- Cost a month: {cost['currency']} {cost['month']:.2f} ({safe(cost['source'])}, {cost['as_of']})"
        if cost
        else f"- Cost a month: {NOT_SUPPLIED}"
    )
    rollout = document["rollout"]
    steps = ", ".join(f"{step} %" for step in rollout["steps"])
    yield f"- Traffic: {steps}, {rollout['smoke_cases']} smoke cases after each; the old split comes back on any failure"
    for one in (document["rollback"] or {"proof": []})["proof"]:
        yield f"- To go back: {safe(one['what'])} is {one['state']}, {safe(one['says'])}"
    yield f"- Ticket: {safe(control['ticket']['says'])}"
    yield f"- Freeze: {safe(control['freeze']['says'])}. Hold: {safe(control['hold']['says'])}"
    yield from (f"- **Exception**: {safe(one['what'])}" for one in control["exceptions"])
    if risk["reasons"]:
        yield ""
        yield "### Risk"
        yield ""
        yield from (f"- {one['level']}: **{safe(one['rule'])}**. {safe(one['says'])}" for one in risk["reasons"])


def _linkable(address: str) -> bool:
    """Whether an address can stand in Markdown without ending its own link."""
    return not set(address) & set("()[]<> ")


def _more(rows: Sequence[Any]) -> list[str]:
    return ["", f"And {len(rows) - ROWS} more, which the dossier has."] if len(rows) > ROWS else []
