"""What every test shares."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "keyturn_testing.attack_records",
    "keyturn_testing.attestation_keys",
    "keyturn_testing.compat_records",
]

# How wide the terminal of the person is who runs the tests is not their subject.
os.environ.pop("COLUMNS", None)

# How fast the machine is at the moment is not what a property is about.
settings.register_profile("keyturn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keyturn")

LONGEST_ID = 48


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter after its argument where its value is bytes or long text.

    Keys and words made for a run differ from run to run; test names must not, or they cannot be dealt out to
    several processes, nor found again.
    """
    if isinstance(val, bytes | bytearray) or (isinstance(val, str) and len(val) > LONGEST_ID):
        return argname
    return None
