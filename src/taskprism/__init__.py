"""Multi-task dense prediction: one image in, every per-pixel answer out."""
