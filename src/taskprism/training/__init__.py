"""Recipes, the training loop, checkpoints and evaluation."""
