"""Exchange with other formats and hubs."""
