"""Algorithms by their API names, each registered in one place."""
