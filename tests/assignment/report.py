"""The points of a submission, as a table, a row of a CSV file, or what Gradescope reads."""

import csv
import io

from .checks import AS_EXPECTED, CHECKS, Submission, Verdict
from .loading import advised, outdated

NOT_RUN = Verdict("", ["not run"])
NOTES = 6  # shown in a table at most


def report(submission: Submission, name: str, verdicts: dict[str, Verdict]) -> dict:
    """Return the points of every check; one that was not run has none."""
    rows = []
    for check in CHECKS:
        verdict = verdicts.get(check.id, NOT_RUN)
        rows.append({"part": check.part, "check": check.name, "points": 0 if verdict.complaints else check.points,
                     "of": check.points, "expected": verdict.expected, "found": verdict.found})
    parts = {part: [round(sum(row[key] for row in rows if row["part"] == part), 2) for key in ("points", "of")]
             for part in sorted({row["part"] for row in rows})}
    points, of = (round(sum(column), 2) for column in zip(*parts.values()))
    return {"submission": name, "points": points, "of": of, "parts": parts, "checks": rows,
            "outdated": outdated(submission.path), "notes": [advised(note) for note in submission.notes]}


def complaints(result: dict) -> dict[str, str]:
    """Return what was found by the checks that failed; what several found stands at the first."""
    said = {}
    for row in result["checks"]:
        if row["found"] != AS_EXPECTED:
            said.setdefault(row["found"], f"{row['part']}-{row['check']}")
    return {check: found for found, check in said.items()}


def table(result: dict) -> list[str]:
    """Return the lines for a terminal: one for each check, and the notes."""
    complained, lines = complaints(result), []
    for row in result["checks"]:
        name = f"{row['part']}-{row['check']}"
        found = "" if row["found"] == AS_EXPECTED else complained.get(name) or "the same"
        lines.append(f"{row['part']}  {row['check']:15} {row['points']:4.1f} of {row['of']:.1f}   {found}".rstrip())
    lines.append(summary(result))
    notes = [f"left out: {note}" for note in result["notes"]] + [f"outdated, {note}" for note in result["outdated"]]
    lines += notes[:NOTES] + [f"and {len(notes) - NOTES} more"] * (len(notes) > NOTES)
    return lines


def summary(result: dict) -> str:
    parts = ", ".join(f"{part} {points:.1f} of {of:.1f}" for part, (points, of) in result["parts"].items() if of)
    return f"{result['points']:.1f} of {result['of']:.1f} points: {parts}"


def csv_text(results: list[dict]) -> str:
    """A row for each submission, with what was lost and why in the last column."""
    text = io.StringIO()
    rows = csv.writer(text)
    parts = [part for part, (_, of) in results[0]["parts"].items() if of]
    rows.writerow(["submission", *parts, "points", "of", "lost"])
    for result in results:
        lost = "; ".join(f"{check}: {found}" for check, found in complaints(result).items())
        name = result["submission"]
        name = f"'{name}" if name[0] in "=+-@" else name  # a spreadsheet would compute it
        rows.writerow([name, *(result["parts"][part][0] for part in parts), result["points"], result["of"], lost])
    return text.getvalue()


def gradescope(result: dict) -> dict:
    """What Gradescope reads from results.json."""
    complained = complaints(result)
    tests = [{"name": (name := f"{row['part']}-{row['check']}"), "number": row["part"], "score": row["points"],
              "max_score": row["of"], "status": "passed" if row["found"] == AS_EXPECTED else "failed",
              "output": "" if row["found"] == AS_EXPECTED else f"expected: {row['expected']}\nfound: "
                        + (complained.get(name) or "the same as above")} for row in result["checks"]]
    return {"score": result["points"], "output": "\n".join(table(result)), "output_format": "text", "tests": tests}
