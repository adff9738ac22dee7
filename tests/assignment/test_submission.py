"""One test for each check; what they are worth is in ``checks.CHECKS``."""

import pytest


def test_submission(check, submission, index, record_property):
    verdict = check(submission.ask)
    record_property("verdict", [index, check.id, list(verdict), submission.notes])
    if verdict.complaints and check.points:
        pytest.fail(f"expected: {verdict.expected}\nfound: {verdict.found}", pytrace=False)
