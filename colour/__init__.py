"""Everything that students of the assignment need neither write nor read.

Its folders are floors, from the top: jobs/, learning/, the modules here, data/, system/. Each module uses only its own
floor and those below it.
"""
