"""How work is run: stages, units on workers, the result cache, what determines a result."""
