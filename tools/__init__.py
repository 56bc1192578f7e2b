"""What the Makefile offers beside the pipeline."""
