"""The boundary: the only process in which operational keys exist. It checks every authorisation itself."""
