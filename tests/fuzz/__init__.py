"""Fuzzing of every parser of the boundary: targets, corpus, and the engine that drives them."""
