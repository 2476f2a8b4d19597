"""Write one file that installs keyturn on a machine with Python and no network.

The file is a Python zip application: wheels of keyturn and of everything it needs, the lock file, an installer,
checksums, and a CycloneDX list of what is inside. Building twice from the same commit gives the same bytes.

    python scripts/offline_bundle.py --wheels CACHE --out dist
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import uuid
import zipfile
from pathlib import Path

from keyturn import __version__

ROOT = Path(__file__).parent.parent
EPOCH = (2020, 1, 1, 0, 0, 0)
"""Every entry of the zip carries this time, so that the bytes depend on the contents alone."""


def main() -> None:
    """Collect wheels, write the bundle, print its path and SHA-256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wheels", type=Path, required=True, help="folder with the locked wheels (scripts/setup fills it)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the bundle")
    arguments = parser.parse_args()
    tag = f"py{sys.version_info.major}{sys.version_info.minor}"
    target = arguments.out / f"keyturn-{__version__}-offline-{tag}.pyz"
    with tempfile.TemporaryDirectory() as scratch:
        wheels = collect_wheels(arguments.wheels, Path(scratch))
        write_bundle(target, wheels, tag)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    target.with_suffix(".pyz.sha256").write_text(f"{digest}  {target.name}\n")
    print(f"{target}  ({target.stat().st_size / 1e6:.1f} MB)")
    print(f"SHA-256 {digest}")
    print(f"Carry it over, compare the SHA-256 there, then: python3 {target.name} --target /opt/keyturn")


def collect_wheels(cache: Path, scratch: Path) -> list[Path]:
    """Take the locked wheels from `cache` by hash and build keyturn's own; returns them sorted by name."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    locks = [ROOT / "requirements" / "runtime.txt", ROOT / "requirements" / "installer.txt"]
    for lock in locks:
        subprocess.run(
            [
                *pip,
                "download",
                "--no-index",
                "--find-links",
                cache,
                "--require-hashes",
                "--no-deps",
                "-d",
                scratch,
                "-r",
                lock,
            ],
            check=True,
        )
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", scratch, ROOT], check=True)
    return sorted(scratch.glob("*.whl"))


def write_bundle(target: Path, wheels: list[Path], tag: str) -> None:
    """Write the zip application to `target`, in a fixed order and with fixed times."""
    entries: dict[str, bytes] = {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels}
    own = next(name for name in entries if name.startswith("wheels/keyturn-"))
    own_digest = hashlib.sha256(entries[own]).hexdigest()
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    entries["requirements.txt"] = f"{lock}keyturn=={__version__} --hash=sha256:{own_digest}\n".encode()
    entries["sbom.cdx.json"] = json.dumps(bill_of_materials(entries), indent=1, sort_keys=True).encode()
    entries["python-tag"] = tag.encode()
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(entries.items()))
    entries["SHA256SUMS"] = sums.encode()
    entries["__main__.py"] = (ROOT / "scripts" / "offline_installer.py").read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in sorted(entries.items()):
                info = zipfile.ZipInfo(name, EPOCH)
                info.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
    target.chmod(0o755)


def bill_of_materials(entries: dict[str, bytes]) -> dict[str, object]:
    """List the wheels as a CycloneDX 1.5 document: name, version, package URL, SHA-256 of the file inside."""
    components = []
    for name, data in sorted(entries.items()):
        if not name.endswith(".whl"):
            continue
        package, version = name.removeprefix("wheels/").split("-")[:2]
        package = package.lower().replace("_", "-")
        components.append(
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{package}@{version}",
                "name": package,
                "version": version,
                "purl": f"pkg:pypi/{package}@{version}",
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}],
            }
        )
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "keyturn", "version": __version__}},
        "components": components,
    }


if __name__ == "__main__":
    main()
