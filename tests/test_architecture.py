"""The arrows between the rooms, enforced (ARCHITECTURE.md, "Rooms")."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_import_arrows_point_down_the_table_only() -> None:
    """import-linter reads the contracts in pyproject.toml and finds none broken."""
    checker = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([checker, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_every_room_of_the_architecture_exists_and_is_described() -> None:
    """A room without its sentence in ARCHITECTURE.md is a room nobody can find."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [p.parent.name for p in (ROOT / "src/keyturn").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}`" not in page] == []
