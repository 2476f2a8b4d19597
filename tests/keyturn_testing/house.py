"""A real HSM whose whole data directory is copied, used, and put back (R6)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn_testing.hsm_process import HsmProcess

ADA: Final = Officer("ada")
POLICY: Final = encode_policy(make_policy(quorum(1, ADA)))
ECDSA: Final = "SHA256_WITH_ECDSA"


@dataclass
class House:
    """One HSM whose disk an attacker reaches while it does not run.

    Args:
        process: The HSM.
        aside: Where copies of its store lie.
    """

    process: HsmProcess
    aside: Path

    def ask(self, call: protocol.Call) -> Any:
        """Ask as a broker does."""
        with RawLine(self.process.address) as line:
            return line.ask(call)

    def refused(self, call: protocol.Call) -> str:
        """The word with which a call is refused."""
        answer = self.ask(call)
        assert isinstance(answer, protocol.Refused), answer
        return answer.refusal

    def copy(self, name: str = "copy") -> None:
        """Copy the store of the HSM that does not run; start it again."""
        self.process.stop()
        shutil.copytree(self.process.directory, self.aside / name)
        self.process.start()

    def put_back(self, name: str = "copy") -> None:
        """Put the copy in the store's place and start the HSM on it."""
        self.process.stop()
        shutil.rmtree(self.process.directory)
        shutil.copytree(self.aside / name, self.process.directory)
        self.process.start()

    def create(self, label: str, policy: bytes = POLICY) -> protocol.Attested:
        """Make a key."""
        made = self.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=False))
        assert isinstance(made, protocol.Attested), made
        return made

    def attest(self, label: str) -> protocol.Witness:
        """Attested attributes of a key, as a witness."""
        found = self.ask(protocol.Attest(label))
        return protocol.Witness("attestation", found.xml.encode(), found.signature)

    def info(self) -> protocol.Info:
        """Who is there."""
        info = self.ask(protocol.GetInfo())
        assert isinstance(info, protocol.Info)
        return info

    def approval(self, label: str, action: Action, payload: bytes | None = None) -> bytes:
        """ADA's approval with a timestamp of the HSM."""
        stamped = self.ask(protocol.Stamp(label, action, payload or b""))
        signature = wrap_signature(stamped.algorithm, stamped.signature)
        return ADA.approve(ApprovalToken(action, label.encode(), stamped.timestamp, signature, payload))

    def receipted_block(self, label: str) -> protocol.Witness:
        """Block a key; the receipt, as a witness."""
        answer = self.ask(
            protocol.Block(operation_id(), label, [ADA.approve(bare_token(label, Action.BLOCK))], "request-1")
        )
        assert isinstance(answer, protocol.Attested), answer
        return protocol.Witness("receipt", answer.receipt, answer.receipt_signature)

    def administer(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `keyturn hsm …` as its administrator."""
        return subprocess.run(
            [sys.executable, "-m", "keyturn", "hsm", *words, "--admin-socket", str(self.process.admin_socket)],
            capture_output=True,
            text=True,
            check=False,
        )

    def log(self) -> list[dict[str, Any]]:
        """Lines of the decision log."""
        return [json.loads(line) for line in (self.process.directory / "decisions.log").read_text().splitlines()]


def bare_token(label: str, action: Action) -> ApprovalToken:
    """An approval's bytes without a timestamp and a payload."""
    return ApprovalToken(action, label.encode(), None, None, None)


def sign(label: str, payload: bytes = b"pay", *, approved: bool = True, request_id: str = "") -> protocol.Sign:
    """A call to sign."""
    approvals = [ADA.approve_use(label, payload)] if approved else []
    return protocol.Sign(operation_id(), label, payload, ECDSA, "", approvals, request_id)


def issue(label: str, attach_to: str) -> protocol.SignCertificate:
    """A call to issue a certificate, with bytes that are none."""
    return protocol.SignCertificate(operation_id(), label, "issue", b"x", ECDSA, False, attach_to, [])
