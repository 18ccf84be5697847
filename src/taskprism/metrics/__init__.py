"""Metrics of dense prediction, as torchmetrics."""
