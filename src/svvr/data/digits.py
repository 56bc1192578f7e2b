"""scikit-learn's 1797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998, UCI 80)."""

from svvr.data import Size, stratified
from svvr.records import Arrays


def splits(*, seed: int, validation: Size = 0.2, test: Size = 0.2) -> Arrays:
    """Split them by seed; sizes are numbers of examples or shares."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ValueError("data.name: got digits, expected scikit-learn beside it: pip install -e '.[data]'") from None
    x, y = load_digits(return_X_y=True)
    return stratified(x, y, seed, validation, test)
