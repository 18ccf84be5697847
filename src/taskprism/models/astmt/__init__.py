"""ASTMT: one task at a time through a network modulated per task."""
