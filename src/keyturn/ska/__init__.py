"""The domain, pure: tokens, policies and the one decision. No I/O, no clock."""
