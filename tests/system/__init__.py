"""Tests of ``colour/system``, one file for one module."""
