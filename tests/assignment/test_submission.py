"""One test for each check; what they are worth is in ``checks.CHECKS``."""

import pytest

from .checks import CHECKS
from .conftest import VERDICTS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_submission(check, submission, pytestconfig):
    verdict = check(submission.ask)
    pytestconfig.stash[VERDICTS][check.id] = verdict
    print(f"expected: {verdict.expected}\nfound: {verdict.found}")
    if verdict.complaints:
        pytest.fail(f"expected: {verdict.expected}\nfound: {verdict.found}", pytrace=False)
