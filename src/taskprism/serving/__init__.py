"""A web page that runs a trained network on uploaded images."""

from taskprism.serving.app import Page
from taskprism.serving.limits import Limits, RateLimiter
from taskprism.serving.worker import Worker

__all__ = ["Limits", "Page", "RateLimiter", "Worker"]
