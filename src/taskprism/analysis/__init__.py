"""Resources, comparisons and what a trained model does inside."""
