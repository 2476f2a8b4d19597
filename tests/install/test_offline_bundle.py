"""Into the vault without a network: one file, installed and serving inside an empty network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

IN_THE_VAULT = """
set -eu
ip link set lo up
test "$(ip -o link | wc -l)" = 1     # nothing but loopback: the vault has no network
{python} {bundle} --target {target}
cd {scratch}
{target}/bin/keyturn serve --profile local --data-dir {scratch}/data --host 127.0.0.1 --port 8080 >serve.log 2>&1 &
server=$!
for _ in $(seq 100); do
  if {python} -c 'import urllib.request as u
print(u.urlopen("http://127.0.0.1:8080/v1/versionInfo").read().decode())' 2>/dev/null
  then kill $server; wait $server || true; exit 0; fi
  sleep 0.1
done
cat serve.log >&2
exit 1
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    wheels = (Path(sys.prefix) / ".wheels").read_text().strip()
    subprocess.run([sys.executable, ROOT / "scripts/offline_bundle.py", "--wheels", wheels, "--out", out], check=True)
    return next(out.glob("*.pyz"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="an empty network namespace needs root")
def test_one_file_installs_and_serves_where_there_is_no_network(bundle: Path, tmp_path: Path) -> None:
    script = IN_THE_VAULT.format(
        python=Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}",
        bundle=bundle,
        target=tmp_path / "keyturn",
        scratch=tmp_path,
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"Version"' in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_damaged_file_is_refused_and_names_the_damage(bundle: Path, tmp_path: Path) -> None:
    whole = subprocess.run([sys.executable, bundle, "--check-only"], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr

    damaged = tmp_path / bundle.name
    shutil.copy(bundle, damaged)
    with zipfile.ZipFile(damaged) as archive:
        victim = next(info for info in archive.infolist() if info.filename.startswith("wheels/keyturn-"))
    data = bytearray(damaged.read_bytes())
    data[victim.header_offset + 4000] ^= 1
    damaged.write_bytes(data)
    refused = subprocess.run([sys.executable, damaged, "--check-only"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "keyturn" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_builds_of_one_commit_are_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    wheels = (Path(sys.prefix) / ".wheels").read_text().strip()
    subprocess.run(
        [sys.executable, ROOT / "scripts/offline_bundle.py", "--wheels", wheels, "--out", tmp_path], check=True
    )
    assert next(tmp_path.glob("*.pyz")).read_bytes() == bundle.read_bytes()
