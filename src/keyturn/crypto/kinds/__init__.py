"""The kinds of keys, one module for each family; `keyturn.crypto.key_types` lists them."""
