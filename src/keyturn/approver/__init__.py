"""Approval keys and the client that shows what it signs.

The client is the one machine an officer has to trust, so it trusts nothing it is sent (rule R11): whatever it shows
is decoded here from the bytes that will be signed, every other field of a task either agrees with them or is a
refusal, and what cannot be compared is labelled as a claim.

`keys`, `keyfiles`, `pbes2`: approval keys and their encrypted files. `tasks`, `review`, `request_claims`, `stamps`:
from a task as received to a `Review`. `payload`, `policy_words`, `terminal`: how it is shown. `address_book`,
`first_trust`: whom the officer knows, and how the HSM is met for the first time. `client`: the sender and receiver.
"""
