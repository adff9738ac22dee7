"""The instructors' room: the sheet, the hand-out, and a checker of what comes back (see README.md here).

    python -m pytest tests/assignment --submission path/to/colourization.py

``checks`` judges, ``sandbox`` asks, ``worker`` runs the submission, and ``looks`` says what can be seen of it.
"""
