"""Install keyturn from this one file. Needs Python and nothing else: no network, no pip, no compiler.

    python3 keyturn-VERSION-offline-pyXY.pyz --target /opt/keyturn

Every file inside is compared with its checksum first; pip then installs by hash, with the index switched off.
The checksums guard against damage on the way. Against malice, compare the SHA-256 of this file with the one
that was printed where it was made.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path


def main() -> int:
    """Check, install, and say how to start; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--target", type=Path, default=Path("keyturn"), help="folder to install into (default: ./keyturn)"
    )
    parser.add_argument("--check-only", action="store_true", help="compare the checksums and stop")
    parser.add_argument("--sbom", action="store_true", help="print the bill of materials (CycloneDX) and stop")
    arguments = parser.parse_args()
    with zipfile.ZipFile(sys.argv[0]) as archive:
        if arguments.sbom:
            print(archive.read("sbom.cdx.json").decode())
            return 0
        damaged = damaged_entries(archive)
        if damaged:
            print(f"This file is damaged ({', '.join(damaged)}). Carry it over again.", file=sys.stderr)
            return 1
        print(f"{len(archive.namelist())} files inside, all as their checksums say.")
        if arguments.check_only:
            return 0
        made_for = archive.read("python-tag").decode()
        running = f"py{sys.version_info.major}{sys.version_info.minor}"
        if made_for != running:
            print(f"Made for {made_for}, but this is {running}. Run it with that Python.", file=sys.stderr)
            return 1
        return install(archive, arguments.target)


def damaged_entries(archive: zipfile.ZipFile) -> list[str]:
    """Names of entries whose SHA-256 is not the listed one, or which are not listed, or missing."""
    listed = {}
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    found = set(archive.namelist()) - {"SHA256SUMS", "__main__.py"}
    wrong = [name for name, digest in listed.items() if name in found and digest_of(archive, name) != digest]
    return sorted(wrong + list(found ^ set(listed)))


def digest_of(archive: zipfile.ZipFile, name: str) -> str:
    """SHA-256 of the entry `name`, or a word that is none where even the zip's own check fails."""
    try:
        return hashlib.sha256(archive.read(name)).hexdigest()
    except zipfile.BadZipFile:
        return "unreadable"


def install(archive: zipfile.ZipFile, target: Path) -> int:
    """Make a virtual environment at `target` and install the wheels into it by hash."""
    if target.exists() and any(target.iterdir()):
        print(f"{target} is not empty. Choose another --target, or remove it.", file=sys.stderr)
        return 1
    print(f"Making {target} ...", flush=True)
    venv.create(target, with_pip=False, symlinks=True)
    python = target.resolve() / "bin" / "python"
    with tempfile.TemporaryDirectory() as scratch:
        archive.extractall(scratch)
        wheels = Path(scratch) / "wheels"
        pip = next(wheels.glob("pip-*.whl"))
        environment = {"PATH": os.environ.get("PATH", ""), "PIP_CONFIG_FILE": os.devnull}
        print("Installing ...", flush=True)
        done = subprocess.run(
            [
                python, pip / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
                "--no-index", "--find-links", wheels,
                "--require-hashes", "-r", Path(scratch) / "requirements.txt",
            ],
            env=environment,
            check=False,
        )  # fmt: skip
    if done.returncode != 0:
        print("pip could not install; its reason stands above.", file=sys.stderr)
        return done.returncode
    print(f"Done. Start with: {target}/bin/keyturn serve --profile local --data-dir DIR")
    return 0


if __name__ == "__main__":
    sys.exit(main())
