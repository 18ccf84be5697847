"""Every published system."""
