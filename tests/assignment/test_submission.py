"""One test for each check; what they are worth is in ``checks.CHECKS``."""

import pytest

from .conftest import VERDICTS


def test_submission(file, check, submission, pytestconfig):
    verdict = check(submission.ask)
    pytestconfig.stash[VERDICTS].setdefault(file, {})[check.id] = verdict
    if verdict.complaints:
        pytest.fail(f"expected: {verdict.expected}\nfound: {verdict.found}", pytrace=False)
