"""How stages run: signals and errors, workers, finished runs, and what a result depends on."""
