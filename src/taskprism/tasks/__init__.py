"""The tasks: one object each."""
