"""Tests of ``colour/jobs``, one file for one module."""
