"""Settings: read once at the start, checked, frozen.

A setting has one dotted name, such as `general.allowSecondsInPolicies`. It may stand in the YAML file under that name,
in the environment as `KEYTURN_` and the name with `__` between the levels (case does not matter), or be given as a
flag. Flags win over the environment, the environment over the file. An unknown or badly typed setting stops the
start with a message that names where it stands: a misspelt protection must not be silently absent.

Only settings that do something in this version exist.

Source: decisions 3, 19, 25; rest-api.md sections 6.4 and 6.9 (documented names).
"""

from keyturn.config.reading import load_settings, read_settings
from keyturn.config.settings import DEFAULT_DATA_DIR, NAMES, PROFILES, Settings

__all__ = ["DEFAULT_DATA_DIR", "NAMES", "PROFILES", "Settings", "load_settings", "read_settings"]
