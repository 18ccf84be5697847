"""Labelled images: samples, transforms, data sets, protocols."""
