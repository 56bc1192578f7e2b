"""Compare a regularizer with a fairly tuned baseline: stacked training, honest protocol, one verdict."""
