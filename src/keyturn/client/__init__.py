"""The Python client of the REST API."""

from keyturn.client.connection import JsonObject, ServerRefusedError
from keyturn.client.rest import RestClient

__all__ = ["JsonObject", "RestClient", "ServerRefusedError"]
