"""The points of a submission, as a table, a row of a CSV file, or what Gradescope reads."""

import csv
import io

from .checks import AS_EXPECTED, CHECKS, Submission, Verdict
from .loading import Wrong, advised, outdated

NOTES = 6  # shown in a table at most


def report(submission: Submission, name: str, verdicts: dict[str, Verdict]) -> dict:
    """Return the points of the checks that were made."""
    rows = []
    for check in CHECKS:
        if check.id not in verdicts:
            continue
        verdict = verdicts[check.id]
        rows.append({"part": check.part, "check": check.name, "points": 0 if verdict.complaints else check.points,
                     "of": check.points, "expected": verdict.expected, "found": verdict.found,
                     "passed": not verdict.complaints})
    parts = {part: [round(sum(row[key] for row in rows if row["part"] == part), 2) for key in ("points", "of")]
             for part in sorted({row["part"] for row in rows})}
    points, of = (round(sum(row[key] for row in rows), 2) for key in ("points", "of"))
    try:
        old = outdated(submission.path)
    except (OSError, Wrong):  # which the checks say
        old = []
    return {"submission": name, "points": points, "of": of, "parts": parts, "checks": rows, "outdated": old,
            "about": [note for note in (submission.about, submission.missing) if note],
            "notes": [advised(note) for note in submission.notes]}


def found(result: dict) -> dict[str, str]:
    """Return what each check found; where it is the same as before, the name of that check."""
    first, lines = {}, {}
    for row in result["checks"]:
        name, what = f"{row['part']}-{row['check']}", row["found"]
        lines[name] = "" if what == AS_EXPECTED else f"see {first[what]}" if what in first else what
        first.setdefault(what, name)
    return lines


def complaints(result: dict) -> dict[str, str]:
    """Return what was found by the checks that failed; what several found stands at the first."""
    lines = found(result)
    return {name: lines[name] for name, row in zip(lines, result["checks"])
            if not row["passed"] and row["of"] and not lines[name].startswith("see ")}


def table(result: dict) -> list[str]:
    """Return the lines for a terminal: one for each check, and the notes."""
    lines = []
    for row, what in zip(result["checks"], found(result).values()):
        points = f"{row['points']:4.1f} of {row['of']:.1f}" if row["of"] else "  (shown)"
        lines.append(f"{row['part']}  {row['check']:15} {points:10}   {what}".rstrip())
    lines.append(summary(result))
    lines += result["about"]
    notes = [f"left out: {note}" for note in result["notes"]] + [f"outdated, {note}" for note in result["outdated"]]
    lines += notes[:NOTES] + [f"and {len(notes) - NOTES} more notes"] * (len(notes) > NOTES)
    return lines


def reason_for_nothing(result: dict) -> list[str]:
    """Return the first complaint about a submission without points, if nothing else says why."""
    return list(complaints(result).values())[:1] if not result["points"] and not result["about"] else []


def summary(result: dict) -> str:
    parts = ", ".join(f"{part} {points:.1f} of {of:.1f}" for part, (points, of) in result["parts"].items() if of)
    return f"{result['points']:.1f} of {result['of']:.1f} points: {parts}"


def csv_text(results: list[dict]) -> str:
    """A row for each submission, with what was lost and why in the last column."""
    text = io.StringIO()
    rows = csv.writer(text)
    parts = [part for part, (_, of) in results[0]["parts"].items() if of]
    rows.writerow(["submission", *parts, "points", "of", "lost", "notes"])
    for result in results:
        lost = "; ".join(f"{check}: {found}" for check, found in complaints(result).items())
        name = result["submission"]
        name = f"'{name}" if name[0] in "=+-@" else name  # a spreadsheet would compute it
        rows.writerow([name, *(result["parts"][part][0] for part in parts), result["points"], result["of"], lost,
                       "; ".join([*result["about"], *(f"left out: {note}" for note in result["notes"])])])
    return text.getvalue()


def gradescope(result: dict) -> dict:
    """What Gradescope reads from results.json."""
    tests = [{"name": name, "number": row["part"], "score": row["points"], "max_score": row["of"],
              "status": "passed" if row["passed"] or not row["of"] else "failed",
              "output": f"expected: {row['expected']}\nfound: {what}" if what else ""}
             for row, (name, what) in zip(result["checks"], found(result).items())]
    return {"score": result["points"], "output": "\n".join(table(result)), "output_format": "text", "tests": tests}
