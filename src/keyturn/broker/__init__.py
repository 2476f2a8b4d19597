"""The workflow: requests, approval tasks, one state machine, durable storage, two profiles as two executors.

The broker is trusted by nobody. It predicts with `ska.decide()` and never decides: the HSM does. It holds no
operational key and no PIN.
"""
