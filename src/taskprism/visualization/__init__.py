"""Colour tables, panels and reports."""
