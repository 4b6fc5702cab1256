"""`seakeep replay`: decide a recorded run again, as it was, or by another spec."""

import json as jsons
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from seakeep.cli import output
from seakeep.cli.check import load_or_fail
from seakeep.cli.project import DEFAULT_SPEC, layout_of
from seakeep.decide.reasons import REASONS
from seakeep.explain.wording import clock_time, dated, duration, sentence
from seakeep.model import codec
from seakeep.model.decision import Reason
from seakeep.model.time import Duration, Instant
from seakeep.runtime.reading import read
from seakeep.runtime.replay import Difference, ReplayReport
from seakeep.runtime.replay import replay as replay_journal
from seakeep.runtime.segments import segments
from seakeep.runtime.whatif import Group, WhatIf, what_if

SHOW_EVERY = 50
"""Steps between two words of progress."""
CHILD_WITHIN_S = 3600
SIGNS: Mapping[str, str] = {
    "added": "+", "dropped": "-", "earlier": "<", "later": ">", "elsewhere": "~",
}  # fmt: skip


def replay(
    journal: Annotated[
        Path | None,
        typer.Argument(help="The journal's folder; of the system here when left out."),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", "-f", help="Decide by this changed spec instead.")
    ] = None,
    hash_seeds: Annotated[
        int,
        typer.Option("--hash-seeds", min=0, max=64, help="Repeat it under so many hash seeds."),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print a document.")] = False,
) -> None:
    """Decide a recorded run again and compare.

    Without --spec every decision must come out byte for byte as it was recorded: that proves that
    nothing but what the journal holds bore on it. --hash-seeds does so again in processes of
    their own, whose sets and mappings are in another order.

    With --spec it tells which decisions a changed spec would have made otherwise, and why. The
    world in the journal is recorded, not simulated: it reacted to what was decided then. So it
    tells where decisions part, not how the story would have ended.

    Exits with 0 when there is no difference, 1 when there is one, 2 when nothing could be
    replayed.

    Examples:

      seakeep replay

      seakeep replay .seakeep/journal --hash-seeds 3

      seakeep replay --spec changed.yaml
    """
    folder = _folder(journal)
    if spec is not None:
        if hash_seeds:
            output.fail("--hash-seeds is for a replay without --spec", "leave one of them out")
        raise typer.Exit(_changed(folder, spec, json))
    raise typer.Exit(_same(folder, hash_seeds, json))


def _folder(journal: Path | None) -> Path:
    folder = layout_of(DEFAULT_SPEC).journal if journal is None else journal
    inside = folder / ".seakeep" / "journal"
    if not segments(folder) and segments(inside):
        folder = inside
    if not segments(folder):
        what = "holds no journal" if folder.exists() else "does not exist"
        output.fail(
            f"{folder} {what}",
            "name the folder with the files 00000001.jsonl and so on; `seakeep up` begins one, "
            "and `seakeep down --keep-logs` leaves it in place",
        )
    return folder


def _stepping(show: Callable[[str], None], what: str) -> Callable[[int, Instant], None]:
    def step(steps: int, at: Instant) -> None:
        if steps % SHOW_EVERY == 0:
            show(f"{what}: {output.counted(steps, 'step')}")

    return step


# --- as it was --------------------------------------------------------------


def _same(folder: Path, hash_seeds: int, json: bool) -> int:
    try:
        with output.progress() as show:
            report = replay_journal(folder, progress=_stepping(show, "replaying"))
            _gaps(report.gaps, report.skipped)
            if not report.steps and report.difference is None:
                output.fail(
                    f"nothing in {folder} could be replayed",
                    "a journal is replayed from the start of a run, or of a whole segment",
                )
            seeds = list(_under_seeds(folder, hash_seeds, show))
    except KeyboardInterrupt:
        output.fail("interrupted: nothing is proved", code=130)
    same = report.identical and all(seed["digest"] == report.digest for seed in seeds)
    if json:
        output.print_json(_same_document(report, seeds, same))
    else:
        _tell_same(report, seeds)
    return 0 if same else 1


def _gaps(gaps: tuple[str, ...], skipped: int) -> None:
    for why in gaps[:10]:
        output.warn(f"records are missing: {why}")
    if len(gaps) > 10:
        output.warn(f"and in {len(gaps) - 10} more places")
    if skipped:
        output.warn(
            f"{output.counted(skipped, 'step')} could not be replayed: what came before them is "
            "missing"
        )


def _under_seeds(folder: Path, count: int, show: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """What the same replay gives in processes with other hash seeds."""
    for seed in range(1, count + 1):
        show(f"replaying under PYTHONHASHSEED={seed}")
        done = subprocess.run(
            [sys.executable, "-m", "seakeep.cli.main", "replay", str(folder), "--json"],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, timeout=CHILD_WITHIN_S, check=False,
        )  # fmt: skip
        try:
            document = jsons.loads(done.stdout)
        except ValueError:
            output.fail(
                f"the replay under PYTHONHASHSEED={seed} did not end well: {done.stderr[-500:]}",
                code=1,
            )
        yield {"seed": seed, "digest": document["digest"], "steps": document["steps"]}


def _same_document(report: ReplayReport, seeds: list[dict[str, Any]], same: bool) -> dict[str, Any]:
    difference = report.difference
    return {
        "identical": same,
        "runs": report.runs,
        "steps": report.steps,
        "skipped": report.skipped,
        "gaps": list(report.gaps),
        "digest": report.digest,
        "hash_seeds": seeds,
        "difference": None if difference is None else _difference_document(difference),
    }


def _difference_document(difference: Difference) -> dict[str, Any]:
    return {
        "record": difference.n,
        "at_ns": difference.at,
        "place": difference.place,
        "recorded": difference.recorded,
        "replayed": difference.replayed,
    }


def _tell_same(report: ReplayReport, seeds: list[dict[str, Any]]) -> None:
    runs = output.counted(report.runs, "run")
    steps = output.counted(report.steps, "step")
    if report.difference is not None:
        output.data(
            f"differs in record {report.difference.n}, after {steps} that do not: "
            f"{report.difference.place}"
        )
        output.data(f"  recorded: {_at(report.difference.recorded, report.difference.place)}")
        output.data(f"  replayed: {_at(report.difference.replayed, report.difference.place)}")
        output.note("another version of Seakeep may have written it, or decisions depend on chance")
    else:
        output.data(f"identical: {steps} in {runs}, decisions {report.digest}")
    for seed in seeds:
        word = "identical" if seed["digest"] == report.digest else f"differs: {seed['digest']}"
        output.data(f"  under PYTHONHASHSEED={seed['seed']}: {word}")


def _at(tree: Any, place: str) -> str:
    """What stands at a place such as `reasons[2].numbers`, shortened."""
    for step in place.replace("[", ".[").split("."):
        try:
            tree = tree[int(step[1:-1])] if step.startswith("[") else tree[step]
        except (KeyError, IndexError, TypeError, ValueError):
            break
    text = jsons.dumps(tree, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:400]}…"


# --- by another spec --------------------------------------------------------


def _changed(folder: Path, spec: Path, json: bool) -> int:
    system = load_or_fail(spec)
    try:
        with output.progress() as show:
            found = what_if(read(folder), system, _stepping(show, "deciding anew"))
    except KeyboardInterrupt:
        output.fail("interrupted", code=130)
    _gaps(found.gaps, found.skipped)
    if not found.steps:
        output.fail(
            f"nothing in {folder} could be replayed",
            "a journal is replayed from the start of a run, or of a whole segment",
        )
    if json:
        output.print_json(_what_if_document(found))
    else:
        _tell_changed(found, spec)
    return 1 if found.is_different else 0


def _what_if_document(found: WhatIf) -> dict[str, Any]:
    return {
        "different": found.is_different,
        "steps": found.steps,
        "differing_steps": found.differing,
        "skipped": found.skipped,
        "gaps": list(found.gaps),
        "first_at_ns": found.first_at,
        "wall_offset_ns": found.wall_offset,
        "changes": [
            {
                "change": group.change,
                "action": group.verb,
                "service": group.service,
                "region": group.region,
                "to": group.to,
                "count": group.count,
                "first_at_ns": group.first_at,
                "last_at_ns": group.last_at,
                "by_ns": group.by,
                "recorded": [_reason(reason) for reason in group.recorded.values()],
                "changed": [_reason(reason) for reason in group.changed.values()],
            }
            for group in found.groups
        ],
    }


def _reason(reason: Reason) -> Any:
    return {**dict(codec.encode(reason)), "text": sentence(reason, REASONS)}


def _tell_changed(found: WhatIf, spec: Path) -> None:
    steps = output.counted(found.steps, "step")
    if not found.is_different:
        output.data(f"no difference: {spec.name} decides the same in all of {steps}")
        return
    first = found.first_at or 0
    offset = found.wall_offset
    when = clock_time(first, None) if offset is None else dated(first + offset)
    output.data(f"{spec.name} decides otherwise in {found.differing} of {steps}, first at {when}")
    place = None
    for group in found.groups:
        if (group.service, group.region) != place:
            place = (group.service, group.region)
            output.data(Text(" in ".join(filter(None, place)) or "the whole", style="bold"))
        output.data(f"  {SIGNS[group.change]} {_said(group, offset)}")
        for side, reasons in (("then", group.recorded), ("now", group.changed)):
            for reason in reasons.values():
                text = sentence(reason, REASONS, wall_offset=offset)
                output.data(f"      {side}: {text} [{reason.code}]")
    output.note(
        "the world is the recorded one, which reacted to what was decided then: an action that "
        "only the changed spec asks for never shows there, and may be asked for again and again"
    )


def _said(group: Group, offset: Duration | None) -> str:
    """`start: 2 more, 12:03:04.250 to 12:03:31.000`."""
    count = group.count
    words = {
        "added": f"{count} more",
        "dropped": f"{count} fewer",
        "earlier": f"{count} earlier, by {duration(group.by)} at most",
        "later": f"{count} later, by {duration(group.by)} at most",
        "elsewhere": f"{count} in {group.to or 'another place'} instead",
    }
    times = clock_time(group.first_at, offset)
    if group.last_at != group.first_at:
        times += f" to {clock_time(group.last_at, offset)}"
    return f"{group.verb}: {words[group.change]}, {times}"
