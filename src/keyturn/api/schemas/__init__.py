"""The bodies of requests, by subject: one struct per documented object. The OpenAPI document is made from these.

Unknown properties are refused at the top level and in request objects and ignored inside `attributes` (decisions 9).
`None` stands for absent and for null, which clients mix freely.
"""
