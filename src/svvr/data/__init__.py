"""MNIST-1D: made once, read everywhere."""
