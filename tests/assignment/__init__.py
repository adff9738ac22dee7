"""A checker for the assignment: what a ``colourization.py`` does, against what the sheet asks.

    python -m pytest tests/assignment --submission path/to/colourization.py

``checks`` judges, ``sandbox`` asks, ``worker`` runs the submission and says what it saw.
"""
