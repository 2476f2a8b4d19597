"""The asynchronous client: the same methods, to be awaited."""
