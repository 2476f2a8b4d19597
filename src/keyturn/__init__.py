"""keyturn: an open Transaction Security Broker."""

__version__ = "0.1.0"
