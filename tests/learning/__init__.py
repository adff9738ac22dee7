"""Tests of ``colour/learning``, one file for one module."""
