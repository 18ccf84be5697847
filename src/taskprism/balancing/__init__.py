"""How losses of several tasks are weighed."""
