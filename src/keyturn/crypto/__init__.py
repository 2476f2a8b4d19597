"""Algorithms by their API names, each registered in one place.

`keys` makes and describes keys, `registry` signs and verifies by algorithm name, `schemes` does the work behind the
names, `single_meaning` says what a protected key may sign. `ciphers` encrypts and decrypts, `wrapping` wraps and
unwraps keys, `imported_keys` checks those that come in. Nothing here decides whether a key may be used: that is
`ska.decide()`, enforced by the HSM.
"""
