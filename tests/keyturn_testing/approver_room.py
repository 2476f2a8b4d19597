"""An engine with a backup key, asked as a broker asks it about approvers."""

from __future__ import annotations

import inspect
import shutil
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import pkcs12

from keyturn.clock import ManualClock
from keyturn.hsm import protocol
from keyturn.hsm.settings import HsmSettings
from keyturn.ska.approver_secrets import BACKUP_PASSWORD, ONE_TIME_CODE, TRANSPORT_PASSWORD, sealed_for
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_room import NOW, Room
from keyturn_testing.keys import operation_id
from keyturn_testing.passwords import seal

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

    from keyturn.ska.policy import Policy

BACKUP_KEY = "backup"
PASSWORD = "a backup password"
TRANSPORT = "0123456789abcdef0123456789abcdef"


class ApproverRoom(Room):
    """An engine that makes keys of approvers; answers that wait are waited for.

    Args:
        directory: Of the store.
        policy: Of the backup key, which is made; None where the HSM makes one with an empty policy.
        copy_of: Directory of a closed store to start from; keys take their time.
        bound: Whether the backup key that is made has bound approvals.
    """

    def __init__(
        self, directory: Path, policy: Policy | None = None, *, copy_of: Path | None = None, bound: bool = False
    ) -> None:
        self.policy = policy
        self.bound = bound
        if copy_of is None:
            super().__init__(directory, backup_key_name=BACKUP_KEY, allow_open_backup_key=policy is None)
            return
        shutil.copytree(copy_of, directory)
        self.directory = directory
        self.settings = HsmSettings(
            data_dir=str(directory), backup_key_name=BACKUP_KEY, allow_open_backup_key=policy is None
        )
        self.clock = ManualClock(NOW)
        self.open()

    async def say(self, call: Any) -> Any:
        """The answer to a call."""
        answer = self.engine.handle(call, "test")
        return await answer if inspect.isawaitable(answer) else answer

    async def make_backup_key(self) -> None:
        """Make the backup key with the policy of this room."""
        assert self.policy is not None
        attributes = {"unwrap": True, "boundApprovals": self.bound}
        call = protocol.CreateKey(
            operation_id(), BACKUP_KEY, "RSA", "", 3072, attributes, encode_policy(self.policy), blocked=False
        )
        assert isinstance(await self.say(call), protocol.Attested)

    def sealed(self, secret: str, name: str, text: str) -> bytes:
        """Seal a secret as the API's edge does."""
        info = self.ask(protocol.GetInfo())
        return seal(info.transport_key, sealed_for(secret, name), text)

    async def make(self, name: str, password: str = PASSWORD) -> str:
        """Create an approver with a small key; the code."""
        sealed = self.sealed(BACKUP_PASSWORD, name, password)
        made = await self.say(protocol.CreateApprover(operation_id(), name, 2048, 365, sealed))
        assert isinstance(made, protocol.ApproverCode), made
        return made.code

    def bring(self, name: str, code: str, transport: str = TRANSPORT) -> Any:
        """The answer to a code."""
        return self.ask(
            protocol.OnboardApprover(
                operation_id(),
                name,
                self.sealed(ONE_TIME_CODE, name, code),
                self.sealed(TRANSPORT_PASSWORD, name, transport),
            )
        )

    def restoration(self, name: str, purpose: str = "restore", password: str = "", old: str = "") -> Any:
        """The call that restores an approver, without approvals."""
        sealed = self.sealed(BACKUP_PASSWORD, name, password) if password else b""
        found = self.ask(protocol.GetRestoration(name, purpose, sealed))
        if not isinstance(found, protocol.Restoration):
            assert isinstance(found, protocol.Refused)
            return found
        return protocol.Unwrap(
            operation_id(),
            found.label,
            found.wrapped_key,
            found.method,
            found.new_label,
            found.attributes,
            [],
            approver=name,
            purpose=purpose,
            backup_password=sealed,
            old_backup_password=self.sealed(BACKUP_PASSWORD, name, old) if old else b"",
        )

    async def restored(self, call: Any) -> str:
        """The code that a restoration leads to."""
        assert isinstance(call, protocol.Unwrap), call
        done = await self.say(call)
        assert isinstance(done, protocol.Attested), done
        answer = self.ask(protocol.GetRestoredCode(call.approver, call.operation_id))
        assert isinstance(answer, protocol.ApproverCode), answer
        return answer.code


async def prepare(directory: Path, policy: Policy | None, *, bound: bool = False, onboarded: str = "phone") -> Path:
    """Make a closed store with a backup key and, unless the name is empty, an onboarded approver; its directory."""
    room = ApproverRoom(directory, policy, bound=bound)
    if policy is not None:
        await room.make_backup_key()
    if onboarded:
        opened(room.bring(onboarded, await room.make(onboarded)))
    await room.workers.close()
    room.close()
    return directory


def opened(package: Any, password: str = PASSWORD, transport: str = TRANSPORT) -> PKCS12KeyAndCertificates:
    """An approver's file out of what the HSM gave."""
    assert isinstance(package, protocol.ApproverPackage), package
    assert len(package.initialization_vector) == 12
    file = AESGCM(transport.encode()).decrypt(package.initialization_vector, package.payload, None)
    return pkcs12.load_pkcs12(file, password.encode())


def wrong_digits(code: str) -> str:
    """Another code."""
    return f"{(int(code) + 1) % 10**6:06}"
