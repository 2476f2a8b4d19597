"""The messages of the broker's protocol by subject; `keyturn.hsm.protocol` puts them together."""
