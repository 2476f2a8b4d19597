"""The whole air-gapped story on real keys, in under a minute: `make demo`.

Two installations run as separate processes in separate folders: the vault (with an HSM process, no connection to the
other) and the office (no HSM at all). What crosses between them is what a courier carries: files and pictures. Every
command line shown is one that you can type. What the demo makes stays in `demo-output/`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from demo_stage import DemoError, Stage, short

from keyturn.client import RestClient
from keyturn.errors import KeyturnError

ROOT = Path(__file__).parent.parent
PAYLOAD = b"Pay 4,200,000 EUR from TREASURY to Hafen Shipyard, invoice 2026-1107"
KEY = "treasury"
OFFICERS = (("anna", "rsa-3072"), ("ben", "ec-p256"), ("chloe", "ed25519"))


def main() -> int:
    """Run the story; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "demo-output", help="where artefacts are left; emptied first"
    )
    folder: Path = parser.parse_args().out.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    stage = Stage(folder)
    stage.console.print("[bold]keyturn[/bold]: a key that acts only when enough listed keys agree, behind an air gap\n")
    try:
        Story(stage, folder).tell()
    except (DemoError, KeyturnError, OSError) as error:
        stage.console.print(f"[red]The demo stopped:[/red] {error}", markup=True)
        return 1
    return 0


class Story:
    """The story, scene by scene.

    Args:
        stage: Where it is shown.
        folder: Where its artefacts are left.
    """

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.courier = folder / "courier"
        self.courier.mkdir()
        self.passphrase = folder / "officers" / "passphrase.txt"
        self.book = folder / "officers" / "addressbook.json"
        self.office = folder / "office"
        self.vault = folder / "vault"
        self.public_keys: dict[str, str] = {}

    def tell(self) -> None:
        """Everything, in order."""
        self.make_officers()
        with self.stage_scene_vault() as vault_url:
            self.vault_url = vault_url
            self.create_key()
            self.first_trust()
            with self.stage_scene_office() as office_url:
                self.office_url = office_url
                self.couriers_trust()
                self.register_key()
                self.sign_across_the_gap()
                self.too_few_approvals()
                self.another_algorithm()
                self.change_policy()
        self.read_the_log()
        self.end()

    # --- people and places ------------------------------------------------------------------------------

    def make_officers(self) -> None:
        """Three officers make their keys, each of another type."""
        self.stage.scene("Three officers make their own keys", "Each on their own machine; three types of key.")
        self.passphrase.parent.mkdir()
        self.passphrase.write_text("a passphrase only for this demo\n")
        self.passphrase.chmod(0o600)
        for name, kind in OFFICERS:
            made = self.stage.data(
                "approver", "keygen", "--type", kind, "--out", self.key_file(name), "--passphrase-file", self.passphrase
            )
            self.public_keys[name] = made["publicKey"]
            self.run_quietly("approver", "contacts", "add", name, made["publicKey"], "--address-book", self.book)

    def stage_scene_vault(self) -> Any:
        """The vault opens."""
        self.stage.scene("The vault", "An offline installation: a broker, and the HSM as a process of its own.")
        return self.stage.server("vault", "--profile", "local", "--data-dir", self.vault)

    def stage_scene_office(self) -> Any:
        """The office opens."""
        self.stage.scene("The office, online", "A broker without any HSM. It trusts the pinned device, nothing else.")
        return self.stage.server(
            "office", "--profile", "air-gapped", "--data-dir", self.office, "--attestation-cert", self.pinned
        )

    def create_key(self) -> None:
        """In the vault: a key with a policy."""
        self.stage.scene("In the vault: a key that needs two of three", "Its policy lives with the key, in the HSM.")
        policy = self.policy(quorum=2, people=("anna", "ben", "chloe"))
        with RestClient(self.vault_url) as rest:
            made = rest.create_key(
                label=KEY,
                algorithm="EC",
                curve_oid="1.3.132.0.10",
                attributes={
                    "sign": True,
                    "decrypt": False,
                    "unwrap": False,
                    "destroyable": False,
                    # An approval then means one thing: this algorithm, this key, this policy, this request (R7).
                    "boundApprovals": True,
                },
                policy={**policy, "keyStatus": {"blocked": False}},
            )
        self.public_key = base64.b64decode(made["json"]["publicKey"])
        self.stage.good(f"secp256k1 key [bold]{KEY}[/bold], uuid {made['json']['uuid']}, made inside the HSM process")
        self.stage.good(
            "its approvals are bound: each says algorithm, key, policy and request, and counts for nothing else"
        )

    def first_trust(self) -> None:
        """Both sides compare words before anything else."""
        self.stage.scene(
            "First trust, by voice",
            "The vault reads two lines of words aloud; the office types what it hears and pins what it carried.",
        )
        device, attributes = self.courier / "device.pem", self.courier / "treasury-attributes.json"
        shown = self.stage.data(
            "trust",
            "show",
            "--url",
            self.vault_url,
            "--key-label",
            KEY,
            "--out",
            device,
            "--attributes-out",
            attributes,
        )
        for line in shown:
            self.stage.words(line["what"], line["words"])
        self.pinned = self.folder / "pinned-device.pem"
        self.stage.command(
            "trust", "confirm", "--cert", device, "--attributes", attributes, "--words", " ".join(shown[0]["words"]),
            "--integrity-words", " ".join(shown[1]["words"]), "--out", self.pinned,
        )  # fmt: skip
        self.stage.good("the same words on both sides: device certificate pinned")

    def couriers_trust(self) -> None:
        """The two bundle keys are exchanged."""
        self.stage.scene(
            "The couriers' seals", "Bundles are sealed by the side that made them; each side pins the other."
        )
        sides = {"office": self.office, "vault": self.vault}
        own = {
            name: json.loads(self.run_quietly("transport", "trust", "--data-dir", folder, "--json"))
            for name, folder in sides.items()
        }
        for name, other in (("office", "vault"), ("vault", "office")):
            self.stage.command(
                "transport", "trust", "--data-dir", sides[name], "--pin", own[other]["publicKey"], "--name", other,
                "--words", " ".join(own[other]["words"]),
            )  # fmt: skip

    def register_key(self) -> None:
        """The key's attested attributes cross to the office."""
        self.stage.scene("The key's public side goes to the office")
        bundle = self.courier / "key.ktb"
        self.stage.command(
            "transport", "export", "--url", self.vault_url, "--key", KEY, "--data-dir", self.vault, "--out", bundle
        )
        self.stage.command("transport", "import", bundle, "--url", self.office_url, "--data-dir", self.office, "--yes")
        with RestClient(self.office_url) as rest:
            self.stage.good(f"the office knows: {', '.join(entry['label'] for entry in rest.offline_keys())}")

    # --- the first act: a signature -------------------------------------------------------------------------

    def sign_across_the_gap(self) -> None:
        """Request, approvals, QR sheet with a lost page, signature, result, judge."""
        self.stage.scene("An application asks the office for a signature", f"“{PAYLOAD.decode()}”")
        with RestClient(self.office_url) as rest:
            request = rest.sign(self.sign_request(PAYLOAD))
        self.stage.good(f"request {request}")
        self.preflight(request)

        self.stage.scene("Three officers look; two approve, one rejects")
        self.show_what_anna_sees(request)
        self.decide(request, "anna", "approve")
        self.decide(request, "chloe", "reject")
        self.decide(request, "ben", "approve")
        self.preflight(request)

        self.stage.scene("Out on paper: a sheet of QR codes", "One code is then lost on the way. On purpose.")
        sheet = self.courier / "request-sheet"
        self.stage.command(
            "transport", "export", "--url", self.office_url, "--request", request, "--data-dir", self.office,
            "--qr", sheet, "--max-version", "12", "--extra", "2",
        )  # fmt: skip
        codes = sorted(sheet.glob("*.png"))
        lost = codes[1]
        (self.courier / "lost").mkdir()
        lost.rename(self.courier / "lost" / lost.name)
        self.stage.refused(f"{lost.name} of {len(codes)} codes lost; the spare ones mix the parts and make up for it")

        self.stage.scene("In the vault: read the pictures, look, sign")
        back = self.courier / "result-sheet"
        done = self.stage.command(
            "transport",
            "import",
            sheet,
            "--url",
            self.vault_url,
            "--data-dir",
            self.vault,
            "--yes",
            "--qr",
            back,
            "--address-book",
            self.book,
        )
        self.stage.quote(done.stdout)

        self.stage.scene(
            "Back in the office", "The result counts only if it verifies under the key that was registered."
        )
        self.stage.command("transport", "import", back, "--url", self.office_url, "--data-dir", self.office, "--yes")
        with RestClient(self.office_url) as rest:
            view = rest.request(request)
        self.stage.good(f"request {view['status']}")
        self.judge(PAYLOAD, base64.b64decode(view["result"]))

    def show_what_anna_sees(self, request: str) -> None:
        """What an officer is shown: only what stands in the bytes to be signed."""
        done = self.stage.command("approver", "show", "--request", request, *self.as_officer("anna"))
        self.stage.quote(done.stdout, lines=48)

    def judge(self, payload: bytes, signature: bytes) -> None:
        """`openssl` says whether the signature is good; it is nobody's friend."""
        out = self.folder / "verified"
        out.mkdir()
        (out / "payload.txt").write_bytes(payload)
        (out / "signature.der").write_bytes(signature)
        pem = base64.encodebytes(self.public_key).decode()
        (out / "public-key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}-----END PUBLIC KEY-----\n")
        words = [
            "openssl",
            "dgst",
            "-sha256",
            "-verify",
            "public-key.pem",
            "-signature",
            "signature.der",
            "payload.txt",
        ]
        self.stage.console.print(f"  [cyan]$ {' '.join(words)}[/cyan]")
        verdict = subprocess.run(words, cwd=out, capture_output=True, text=True, check=False)
        if verdict.returncode != 0 or "Verified OK" not in verdict.stdout:
            raise DemoError(f"openssl says: {verdict.stdout}{verdict.stderr}")
        self.stage.good("[bold green]Verified OK[/bold green], says openssl")

    # --- the second act: too few ----------------------------------------------------------------------------

    def too_few_approvals(self) -> None:
        """One approval is carried to the vault all the same; the HSM refuses, and after a second one it acts."""
        self.stage.scene(
            "An attempt with one approval too few",
            "A broker that lies would send it anyway. So do we: the HSM is what refuses.",
        )
        with RestClient(self.office_url) as rest:
            request = rest.sign(self.sign_request(b"Pay 1 EUR to Mallory"))
            self.decide(request, "ben", "approve")
            self.preflight(request)
            body = rest.request(request)["inputOfflineHsm"]
        self.refused_by_the_vault(body, "the HSM signed with one approval of two")
        with RestClient(self.office_url) as rest:
            rest.cancel_request(request)

    # --- the third act: another algorithm ------------------------------------------------------------------------

    def another_algorithm(self) -> None:
        """Enough genuine approvals are carried to the vault under another algorithm: the HSM refuses.

        They are for a digest, to be hashed once more. Signed as a digest it would be a payment that nobody was shown.
        """
        self.stage.scene(
            "An attempt with two genuine approvals, for another algorithm",
            "Approved: 32 bytes, hashed and signed. Sent: the same bytes as if they were the hash. "
            "That would be a valid signature under a payment which no officer saw.",
        )
        hidden = b"Pay 9,000,000 EUR to Mallory"
        with RestClient(self.office_url) as rest:
            request = rest.sign(self.sign_request(hashlib.sha256(hidden).digest()))
            for name in ("anna", "ben"):
                self.decide(request, name, "approve")
            self.preflight(request)
            body = rest.request(request)["inputOfflineHsm"]
        body["signRequest"]["signatureAlgorithm"] = "NONE_WITH_ECDSA"
        self.refused_by_the_vault(body, "the HSM signed with an algorithm that nobody approved")
        self.stage.good("both approvals are genuine, and bound to SHA256_WITH_ECDSA: for NONE_WITH_ECDSA there is none")
        with RestClient(self.office_url) as rest:
            rest.cancel_request(request)

    def refused_by_the_vault(self, body: dict[str, Any], otherwise: str) -> None:
        """Have the vault execute what it must refuse."""
        with RestClient(self.vault_url) as vault:
            try:
                vault.execute_offline_input(body)
            except KeyturnError as refusal:
                self.stage.refused(f"HSM: {refusal.message} [dim]({refusal.code.number} {refusal.code.reason})[/dim]")
                return
        raise DemoError(otherwise)

    # --- the fourth act: another policy -------------------------------------------------------------------------

    def change_policy(self) -> None:
        """Chloe leaves; the new policy crosses by the same road and needs the approvals of the old one."""
        self.stage.scene("Chloe leaves: a change of the policy, over the same road", "From 2 of 3 to 2 of 2.")
        new = self.policy(quorum=2, people=("anna", "ben"))
        with RestClient(self.office_url) as rest:
            request = rest.modify({"modifyKeyName": KEY, "policy": new})
        for name in ("anna", "ben"):
            self.decide(request, name, "approve")
        out, back = self.courier / "modify.ktb", self.courier / "modify-result.ktb"
        self.stage.command(
            "transport",
            "export",
            "--url",
            self.office_url,
            "--request",
            request,
            "--data-dir",
            self.office,
            "--out",
            out,
        )
        done = self.stage.command(
            "transport",
            "import",
            out,
            "--url",
            self.vault_url,
            "--data-dir",
            self.vault,
            "--yes",
            "--out",
            back,
            "--address-book",
            self.book,
        )
        self.stage.quote(done.stdout, lines=16)
        self.stage.command("transport", "import", back, "--url", self.office_url, "--data-dir", self.office, "--yes")
        with RestClient(self.office_url) as rest:
            status = rest.request(request)["status"]
            rule = rest.key_attributes(KEY)["json"]["policy"]["ruleUse"]
        group = rule["tokens"][0]["groups"][0]
        self.stage.good(
            f"request {status}; the office's register now says {group['quorum']} of {len(group['approvals'])}, attested"
        )
        if status != "EXECUTED" or len(group["approvals"]) != 2:
            raise DemoError("the policy was not changed")

    def read_the_log(self) -> None:
        """The HSM's own record of what it decided."""
        self.stage.scene("The HSM's decision log", "Hash-chained lines: what was granted, what was refused, and why.")
        done = self.stage.command("hsm", "log", "verify", "--data-dir", self.vault / "hsm")
        self.stage.quote(done.stdout)

    def end(self) -> None:
        """Where everything is."""
        self.stage.console.rule()
        self.stage.say(f"Left in [bold]{self.folder}[/bold]:")
        for name, what in (
            ("verified/", "payload, signature and public key, for any other judge"),
            ("courier/request-sheet/", "the QR codes that crossed; print/ has pages for paper"),
            ("courier/*.ktb", "sealed bundles; look into them with: keyturn transport show, keyturn inspect"),
            ("vault/, office/", "the two installations"),
        ):
            self.stage.say(f"  {name:24} {what}")
        self.stage.good(
            "[bold]signature verified by openssl; two attempts refused by the HSM; one policy changed[/bold]"
        )

    # --- small things ---------------------------------------------------------------------------------------------

    def policy(self, *, quorum: int, people: tuple[str, ...]) -> dict[str, Any]:
        """A policy whose every rule needs `quorum` of `people`."""
        approvals = [{"type": "public_key", "name": name, "value": self.public_keys[name]} for name in people]
        group = {"name": "officers", "quorum": quorum, "approvals": approvals}
        rule = {"tokens": [{"name": "officers agree", "timelock": 0, "timeout": 0, "groups": [group]}]}
        return {"ruleUse": rule, "ruleBlock": rule, "ruleUnblock": rule, "ruleModify": rule}

    def sign_request(self, payload: bytes) -> dict[str, Any]:
        """The body of a request for a signature."""
        return {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "UNSPECIFIED",
            "signKeyName": KEY,
            "signatureAlgorithm": "SHA256_WITH_ECDSA",
            "metaData": base64.b64encode(b'{"app": "demo"}').decode(),
        }

    def key_file(self, name: str) -> Path:
        """The key file of an officer."""
        return self.folder / "officers" / f"{name}.pem"

    def as_officer(self, name: str) -> list[str | Path]:
        """Options with which an officer talks to the office."""
        return [
            "--url", self.office_url, "--key", self.key_file(name), "--passphrase-file", self.passphrase,
            "--address-book", self.book, "--device-cert", self.pinned,
        ]  # fmt: skip

    def decide(self, request: str, name: str, decision: str) -> None:
        """An officer approves or rejects."""
        self.run_quietly("approver", decision, "--request", request, *self.as_officer(name), "--yes")
        key = short(str(self.key_file(name)), self.folder)
        line = f"$ keyturn approver {decision} --request {request[:8]}… --key {key} …"
        self.stage.console.print(f"  [cyan]{line}[/cyan]", markup=True)
        (self.stage.good if decision == "approve" else self.stage.refused)(f"{name}: {decision}")

    def preflight(self, request: str) -> None:
        """What the office expects the vault to say."""
        with RestClient(self.office_url) as rest:
            flight = rest.preflight(request)
        group = flight["tokens"][0]["groups"][0]
        got = len(group["approved"])
        if flight["satisfied"]:
            self.stage.good(
                f"[green]pre-flight: green[/green], {got} of {group['quorum']} approvals; the courier may go"
            )
        else:
            self.stage.refused(f"pre-flight: {got} of {group['quorum']} approvals; carrying it now would be in vain")

    def run_quietly(self, *words: str | Path) -> str:
        """Run a command whose output is of no interest to the audience."""
        return self.stage.command(*words, show=False).stdout


if __name__ == "__main__":
    sys.exit(main())
