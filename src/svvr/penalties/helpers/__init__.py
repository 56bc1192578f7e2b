"""What penalties share: parts that several files of this package may import."""
