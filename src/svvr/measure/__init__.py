"""What a trained model looks like at its weights."""
