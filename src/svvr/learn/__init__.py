"""Training: what a run is, the stacked model, its optimizer, the one loop, its result."""
