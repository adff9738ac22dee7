"""What generates every number, table and picture of the write-up: one module for each question."""
