"""Timings against plain PyTorch, both sides in one process."""
