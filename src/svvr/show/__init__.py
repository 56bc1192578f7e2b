"""What a person reads: words, figures, charts."""
