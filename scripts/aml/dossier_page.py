"""A dossier as one page for the person who approves: what matters most first, what is missing in red, everything else in its place.

No script, nothing to load, readable on a phone, in the dark and on paper. How text of others stays text, see aml/markup.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from aml import dossier_text, plain, plots
from aml.markup import (
    ABSENT,
    TONES,
    age,
    bullets,
    code,
    count,
    figure,
    link,
    listed,
    maybe,
    other,
    own,
    pairs,
    quiet,
    section,
    table,
    tag,
    when,
)
from aml.markup import page as whole

Dossier = Mapping[str, Any]

BARRED = 20  # names that are listed
GOALS = {"minimize": "less is better", "maximize": "more is better"}


def page(document: Dossier, dossier_id: str) -> str:
    """The page, as HTML."""
    parts = (_head, _broken, _verdict, _tiles, _missing, _figures, _changes, _people, _proof, _where, _back, _risk, _control, _files)
    return whole(f"Dossier: {dossier_text.title(document)}", [*(part(document) for part in parts), _foot(document, dossier_id)])


# What matters most.


def _head(document: Dossier) -> str:
    new, old = document["bundle"], document["champion"]
    versions = f"{other(old['version'])} → {other(new['version'])}" if old else other(new["version"])
    over = f"Release dossier, compiled {own(when(document['compiled']))}. For whoever approves {other(document['where']['environment'])}."
    return (
        f'<header>\n<p class="over">{over}</p>\n<h1>{other(new["model"])} {versions}</h1>\n<p class="lede">{lede(document)}</p>\n</header>'
    )


def lede(document: Dossier) -> str:
    """What happens, in one or two sentences, as HTML."""
    old, changes = document["champion"], document["changes"]
    if not old:
        first = "Nothing runs in production yet: this is the first release."
        return first if document["live"] == "nothing" else f"What runs in production: {ABSENT}."
    parts = [one["part"] for one in changes["parts"] if one["change"] == "changed" and one["part"] != "training job"]
    files = sum(one["change"] != "same" for one in changes["files"])
    parts += [count(files, "settings file")] if files else []
    said = f"Replaces {other(old['alias'])}. " + (f"Changed: {own(listed(parts))}." if parts else "Nothing that is deployed has changed.")
    for word, form in (("better", "{}"), ("worse", '<span class="bad">{}</span>')):
        if names := [one["name"] for one in changes["metrics"] if one["gated"] and one["change"] == word]:
            said += " " + form.format(f"{word.capitalize()}: {other(listed(names))}.")
    return said


def _broken(document: Dossier) -> str:
    if not (found := document["control"]["break_glass"]):
        return ""
    said = f"<p><b>{other(dossier_text.broken(document))}</b></p>", f"<p>The reason: {other(found['why'])}</p>"
    return section("Break-glass", *said, f"<p>{link(found['review'], 'the review afterwards') or ABSENT}</p>", kind="alarm")


def _verdict(document: Dossier) -> str:
    level = document["risk"]["class"]
    worst = [one["rule"] for one in document["risk"]["reasons"] if one["level"] == level]
    because = "; ".join(worst[:4]) or "no rule applies"
    more = f" and {len(worst) - 4} more" if len(worst) > 4 else ""
    return f'<div class="verdict {level}"><strong>{level.capitalize()} risk</strong><span>{own(because)}{more}</span></div>'


def _tiles(document: Dossier) -> str:
    made = [tile for tile in (_figure_tile(document), _proof_tile(document), _back_tile(document), _approval_tile(document)) if tile]
    lacking = len(document["missing"])
    words = "listed below" if lacking else "everything that was asked for is here"
    made.append(("Not supplied", "bad" if lacking else "good", str(lacking or "nothing is missing"), words))
    items = (
        f'<li><span>{other(name)}</span><b class="{tone}">{value}</b><span>{own(says)}</span></li>' for name, tone, value, says in made
    )
    return f'<ul class="tiles">{"".join(items)}</ul>'


Tile = tuple[str, str, str, str]  # name, tone, HTML, words


def _figure_tile(document: Dossier) -> Tile | None:
    found = next((one for one in document["changes"]["metrics"] if one["gated"]), None)
    if not found:
        return None
    goal, now = GOALS.get(found["goal"], ""), figure(found["candidate"])
    if found["champion"] is None:
        return found["name"], "", now, goal or "nothing to compare with"
    words = "; ".join(filter(None, [found["change"], goal]))
    return found["name"], TONES.get(found["change"], ""), f"{figure(found['champion'])} → {now}", words


def _proof_tile(document: Dossier) -> Tile:
    needed = [one for one in document["proof"] if one["required"]]
    passed, signed = sum(one["state"] == "passed" for one in needed), sum(one["signature"] == "signed" for one in needed)
    return "Proof", "good" if passed == len(needed) else "bad", f"{passed} of {len(needed)} passed", f"{signed} of them signed"


def _back_tile(document: Dossier) -> Tile:
    back = document["rollback"]
    if not back:
        return "Way back", "bad", "none" if document["live"] == "nothing" else ABSENT, "there is no earlier release to go back to"
    there = all(one["state"] == "there" for one in back["proof"])
    return "Way back", "good" if there else "bad", other(back["alias"]), "still there" if there else "not all of it is there"


def _approval_tile(document: Dossier) -> Tile:
    found = document["people"]["approvers"]
    if not found:
        return "May approve", "bad", ABSENT, "no gate is written down"
    who = [*(f"team {name}" for name in found["teams"]), *found["left"]]
    barred = f", {count(found['barred_count'], 'person').replace('persons', 'people')} may not" if found["barred_count"] else ""
    return "May approve", "" if who else "bad", other(listed(who)) if who else "nobody", f"{found['count']} must{barred}"


def _missing(document: Dossier) -> str:
    items = "".join(f"<li><b>{other(one['what'])}</b><span>{other(one['why'])}</span></li>" for one in document["missing"])
    return section("Not supplied", f"<ul>{items}</ul>", kind="alarm") if items else ""


# Pictures.


def _figures(document: Dossier) -> str:
    found = document["plots"]
    drawn = [
        f"<figure>{plots.history(one)}<figcaption><b>{other(one['metric'])}</b> {GOALS.get(one['goal'], '')}</figcaption></figure>"
        for one in found["history"]
        if one["points"]
    ]
    legend = "Releases from old to new. Ringed: in production now. Filled: this release. Dashed: the limit of the gate." if drawn else ""
    if residuals := found["residuals"]:
        shape = plots.bars(residuals["edges"], residuals["counts"])
        drawn.append(f"<figure>{shape}<figcaption><b>Residuals</b> how far off it was, and how often</figcaption></figure>")
    if confusion := found["confusion"]:
        said = "<b>Confusion</b> a row for what was true, a column for what was said"
        drawn.append(f"<figure>{_matrix(confusion)}<figcaption>{said}</figcaption></figure>")
    content = [f'<div class="plots">{"".join(drawn)}</div>' if drawn else "", quiet(legend, "p") if legend else "", _smoke(found["smoke"])]
    return section("Figures", *content) if any(content) else ""


def _smoke(found: list[dict[str, Any]]) -> str:
    if not found:
        return ""
    longest = max(one["seconds"] for one in found)
    longest = max([longest, *(one["limit"] for one in found if one["limit"] is not None and one["limit"] <= 3 * longest)])
    rows = [
        [
            other(one["case"]),
            f"{one['seconds']:.3f}",
            plots.bar(one["seconds"], longest, one["limit"], one["passed"]),
            own(f"{one['limit']:g} s") if one["limit"] is not None else "",
            tag("passed" if one["passed"] else "failed"),
        ]
        for one in found
    ]
    head = "<h3>Smoke cases: seconds to an answer, the slowest first</h3>"
    return head + table(["case", "seconds", "", "allowed", ""], rows, numbers=(1,))


def _matrix(found: Mapping[str, Any]) -> str:
    def row(at: int, label: str, counts: list[int]) -> str:
        cells = "".join(f"<td{' class=hit' if at == place else ''}>{one}</td>" for place, one in enumerate(counts))
        return f'<tr><th scope="row">{other(label)}</th>{cells}</tr>'

    head = "".join(f'<th scope="col">{other(label)}</th>' for label in found["labels"])
    rows = "".join(row(at, label, counts) for at, (label, counts) in enumerate(zip(found["labels"], found["counts"], strict=True)))
    return f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'


# The rest, in the order in which it is asked for.


def _changes(document: Dossier) -> str:
    found, old = document["changes"], document["champion"]
    metrics = [
        [other(one["name"]), figure(one["champion"]), figure(one["candidate"]), _limits(one), tag(one["change"])]
        for one in found["metrics"]
    ]
    order = ("changed", "unknown", "new", "same")
    ordered = sorted(found["parts"], key=lambda one: order.index(one["change"]))
    parts = [[own(one["part"]), maybe(one["before"]), maybe(one["after"]), tag(one["change"])] for one in ordered]
    head, last = (["in production", "this release"], [""]) if old else (["this release"], [])
    if not old:  # there is nothing to compare with
        metrics = [[name, now, limits] for name, _, now, limits, _ in metrics]
        parts = [[name, now] for name, _, now, _ in parts]
    content = [
        table(["figure", *head, "limit", *last], metrics, (1, 2) if old else (1,), [not one["gated"] for one in found["metrics"]]),
        "<h3>What is deployed</h3>",
        table(["part", *head, *last], parts, calm=[one["change"] == "same" for one in ordered]),
    ]
    if old:
        content.append("<h3>Dependencies</h3>")
        rows = [[other(one["name"]), other(one["before"] or "none"), other(one["after"] or "none")] for one in found["dependencies"] or []]
        content.append(table(["package", *head], rows) or ("<p>None has changed.</p>" if found["dependencies"] is not None else ABSENT))
    return section("What changes", *content)


def _limits(one: Mapping[str, Any]) -> str:
    said = [f"{words} {plain.figure(one[key])}" for key, words in (("min", "at least"), ("max", "at most")) if one[key] is not None]
    return own(" and ".join(said))


def _people(document: Dossier) -> str:
    people = document["people"]
    trainer, commits = people["trainer"], people["commits"]
    authors = [f"{other(one['name'])} {quiet(_author(one))}" for one in people["authors"]]
    wrote = bullets(authors, people["author_count"] - len(authors)) if authors else "nobody since" if commits else ABSENT
    trained = ABSENT
    if trainer:
        through = f"through {other(trainer['submitted_by'])}, {own(when(trainer['when']))}"
        trained = f"{maybe(trainer['person'])} {quiet(through)}"
    took = pairs(("wrote it", wrote), ("trained it", trained), ("started this run", maybe(people["initiator"])))
    note = (
        "Names of authors are what git says, which whoever commits may choose, and accounts are what the CI system makes of their "
        "addresses. After the approval, production checks that who gave it is none of these."
    )
    return section(
        "Who",
        f'<div class="two"><div><h3>Took part</h3>{took}</div><div><h3>May approve</h3>{_approvers(people["approvers"])}</div></div>',
        _commits(commits, "production" if document["champion"] else "the beginning") if commits else "",
        quiet(note, "p"),
    )


def _author(one: Mapping[str, Any]) -> str:
    return f"{other(one['login'] or one['email'])}, {count(one['commits'], 'commit')}"


def _approvers(found: Mapping[str, Any] | None) -> str:
    if not found:
        return f"<p>{ABSENT}: no gate is written down for this environment.</p>"
    barred = [f"{other(one['name'])} {quiet(own(one['why']))}" for one in found["barred"][:BARRED]]
    nobody = '<span class="bad">none is left</span>' if found["users"] else "none"
    return pairs(
        ("how many", own(found["count"])),
        ("teams", other(listed(found["teams"])) if found["teams"] else "none"),
        ("people", other(listed(found["left"])) if found["left"] else nobody),
        ("but not", bullets(barred, found["barred_count"] - len(barred)) if barred else "nobody is barred"),
    )


def _commits(found: Mapping[str, Any], since: str) -> str:
    rows = [[code(one["id"][:10]), other(one["subject"]), other(one["author"]), own(when(one["when"]))] for one in found["listed"]]
    more = found["total"] - len(rows)
    head = f"<h3>{count(found['total'], 'commit')} since {since}</h3>"
    return head + table(["commit", "what", "by", "when"], rows) + (quiet(f"And {more} older ones.", "p") if more > 0 else "")


def _proof(document: Dossier) -> str:
    rows = [
        [f"{code(one['verb'])} {quiet('in ' + other(one['workspace']), 'div')}", tag(one["state"]), *_piece(one, document["compiled"])]
        for one in document["proof"]
    ]
    wrong = '<h3 class="bad">Files that claim to be evidence and are none</h3>' + bullets(other(line) for line in document["unreadable"])
    return section("Proof", table(["check", "", "what it shows", "age", "signature"], rows), wrong if document["unreadable"] else "")


def _piece(one: Mapping[str, Any], now: str) -> list[str]:
    words = f"<div>{own(one['words'])}</div>" if one["words"] else ""
    if not one["finished"]:
        return [words + ABSENT, "", ""]
    checks = [f"{one['checks'] - one['failed_checks']} of {count(one['checks'], 'check')}"] if one["checks"] else []
    figures = [f"{other(entry['name'])} {figure(entry['value'])}" for entry in one["figures"]]
    failed = "".join(f'<div class="bad small">{other(line)}</div>' for line in one["failed"])
    until = f", counts until {when(one['expires'])}" if one["expires"] else ""
    run = f"<div>{link(one['run'], 'run')}</div>" if one["run"] else ""
    why = f'<div class="bad small">{other(one["signature_says"])}</div>' if one["signature_says"] else ""
    return [
        words + quiet("; ".join([*checks, *figures]), "div") + failed,
        own(age(one["finished"], now) + until) + run,
        tag(one["signature"]) + why,
    ]


def _where(document: Dossier) -> str:
    where, rollout = document["where"], document["rollout"]
    machine, before, quota = where["machine"], where["machine_before"], where["quota"]
    runs = f"{machine['instances']} × {other(machine['size'])}" if machine else ABSENT
    if document["champion"]:
        runs += quiet(f" in production {before['instances']} × {other(before['size'])}" if before else f" in production {ABSENT}")
    fits = f"{tag('fits', 'good') if quota['fits'] else tag('does not fit', 'bad')} {other(quota['says'])}" if quota else ABSENT
    place = quiet(f"{other(where['resource_group'])}, {other(where['location'] or 'region not supplied')}")
    steps = "".join(
        f"<li><b>{step} %</b><span>{'all traffic' if step == 100 else 'of the traffic'}</span></li>" for step in rollout["steps"]
    )
    pause = f"{rollout['pause_seconds']:g} seconds at each step, " if rollout["pause_seconds"] else ""
    cases = count(rollout["smoke_cases"], "smoke case")
    plan = f"{pause}{cases} before the first step and after each; on any failure the old split comes back."
    note = "Production itself is not read before the approval. What its endpoint shows is checked after it, before the first write."
    left = pairs(
        ("workspace", f"{other(where['azure'])} {place}"),
        ("endpoint", other(where["endpoint"])),
        ("deployment", f"{code(where['deployment'])} {quiet('named after its content')}"),
        ("through", f"registry {other(where['registry'])}"),
    )
    right = pairs(("machines", runs), ("quota after", fits), ("cost a month", _cost(where["cost"])))
    return section(
        "Where and how",
        f'<div class="two"><div>{left}</div><div>{right}</div></div>',
        f'<h3>Rollout</h3>\n<ol class="steps">{steps}</ol><p>{own(plan)}</p>',
        quiet(note, "p"),
    )


def _cost(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ABSENT
    before = found["month_before"]
    both = quiet(f" instead of {before:,.2f}; both while the earlier one stands to go back to") if before is not None else ""
    source = quiet(f"730 hours, prices of {own(found['as_of'])}: {other(found['source'])}", "div")
    return f"{own(found['currency'])} {found['month']:,.2f}{both}{source}"


def _back(document: Dossier) -> str:
    back = document["rollback"]
    if not back:
        first = "There is nothing to go back to: this is the first release. If it fails, no traffic moves."
        return section("Way back", f"<p>{first if document['live'] == 'nothing' else ABSENT}</p>")
    rows = [[own(one["what"]), tag(one["state"]), other(one["says"])] for one in back["proof"]]
    name = f" to deployment {code(back['deployment'])}" if back["deployment"] else ""
    words = f"<p>One command, the journey rollback, brings traffic back{name} of {other(back['alias'])}.</p>"
    return section("Way back", words, table(["what", "", "found"], rows))


def _risk(document: Dossier) -> str:
    rows = [[own(one["rule"]), tag(one["level"]), other(one["says"])] for one in document["risk"]["reasons"]]
    return section("Why this risk", table(["rule", "level", "what applies"], rows) or "<p>No rule applies.</p>")


def _control(document: Dossier) -> str:
    control = document["control"]
    rows = [[name.capitalize(), tag(control[name]["state"]), other(control[name]["says"])] for name in ("ticket", "freeze", "hold")]
    if control["gates"] is None:
        rows.append(["Protection", tag("unknown"), ABSENT])
    rows += [[other(one["name"]), tag("passed" if one["passed"] else "failed"), other(one["says"])] for one in control["gates"] or []]
    for one in control["exceptions"]:
        said = f"{other(one['what'])}; owner {maybe(one['owner'])}, until {maybe(one['until'])}"
        rows.append(["Exception", tag("exception", "warn"), said])
    return section("Control", table(["what", "", "found"], rows))


def _files(document: Dossier) -> str:
    if not document["champion"]:
        return ""
    content = []
    for one in document["changes"]["files"]:
        if one["change"] != "same":
            content.append(f"<h3><code>{other(one['path'])}</code> {tag(one['change'])}</h3>")
            content.append(f"<pre>{''.join(map(_line, one['diff']))}</pre>" if one["diff"] else "")
            content.append(quiet(other(one["note"]), "p") if one["note"] else "")
    same = sum(one["change"] == "same" for one in document["changes"]["files"])
    content.append(quiet(f"The same as before: {count(same, 'file')}.", "p"))
    return section("Settings, line by line", *content, kind="card long")


def _line(line: str) -> str:
    side = {"+": "add", "-": "del", "@": "at"}.get(line[:1], "as")
    return f'<span class="{side}"><bdi>{escape(plain.line(line, 250)) or " "}</bdi></span>'


def _foot(document: Dossier, dossier_id: str) -> str:
    new, old = document["bundle"], document["champion"]
    live = code(old["id"]) if old else "nothing" if document["live"] == "nothing" else ABSENT
    return section(
        "What is approved",
        "<p>Only these digests count. What is deployed must have the bundle's; an approval counts for this dossier and no other.</p>",
        pairs(
            ("dossier", code(dossier_id)),
            ("bundle", code(new["id"])),
            ("model", code(new["digest"])),
            ("commit", f"{code(new['commit'] or 'none')} {other(new['repository'])}"),
            ("in production", live),
            ("compiled by", link(document["run"], "this run") or "no run of a CI system"),
        ),
    )
