"""The Python client of the REST API, synchronous and asynchronous."""

from keyturn.client.asynchronous.rest import AsyncRestClient
from keyturn.client.connection import JsonObject, ServerRefusedError
from keyturn.client.rest import RestClient

__all__ = ["AsyncRestClient", "JsonObject", "RestClient", "ServerRefusedError"]
