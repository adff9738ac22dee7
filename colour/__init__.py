"""What the scripts of the assignment share, one job a module."""
