"""Algorithms by their API names, each registered in one place.

`keys` makes and describes keys, `registry` signs and verifies by algorithm name, `payloads` says what a payload
must look like. Nothing here decides whether a key may be used: that is `ska.decide()`, enforced by the HSM.
"""
