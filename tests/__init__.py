"""One test file for each module; ``promises`` has the tests that break things for real."""
