"""Compare a regularizer with a fairly tuned baseline: stacked training, honest protocol, one verdict."""

import os

from svvr import lifetime

if "DVC_STAGE" in os.environ:  # set by dvc: this is a stage, which a signal must end cleanly while it still imports
    lifetime.end_on_signals(os.environ["DVC_STAGE"])
