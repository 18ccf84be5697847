"""Cross-task modules."""
