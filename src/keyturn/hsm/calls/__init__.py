"""The calls of the broker's client of the HSM, by subject; `keyturn.hsm.client` puts them on a line."""
