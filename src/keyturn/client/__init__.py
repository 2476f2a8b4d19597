"""The Python client of the REST API."""

from keyturn.client.rest import JsonObject, RestClient

__all__ = ["JsonObject", "RestClient"]
