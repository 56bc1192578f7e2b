"""The search for hyperparameters: Optuna studies."""
