"""Penalties on weight matrices: one file each, found by name, with a function `penalty(W)`.

A penalty maps weights (..., m, n) to a value for each matrix, (...), and depends on nothing else: the same value at
every call, whatever matrices stand beside it in the stack. A closed form of its gradient, `gradient(W)` (..., m, n), is
used where there is one. A penalty's file may import torch and what `svvr.penalties.helpers` holds.
"""
