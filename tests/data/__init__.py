"""Tests of ``colour/data``, one file for one module."""
