"""The REST surface. It holds no rules."""
