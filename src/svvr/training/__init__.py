"""Training: the stacked model, its optimizers, what a run is, and the one loop."""
