"""Tests that break things for real: processes that are killed, disks that are full, hostile files."""
