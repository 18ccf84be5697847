"""The command `taskprism`."""
