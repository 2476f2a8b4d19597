"""The approver directory: names of approvers and their certificates, so that policies can list people by name.

The HSM knows keys, not names (R22): a name is looked up once, when a policy is made, and the certificate goes into the
policy. Removing or replacing an entry changes no policy that exists.

Source: rest-api.md sections 3.8 and 5 (`onboarded_approver_certificate`); docs/security/rules.md R13, R22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.broker.answers import DirectoryEntry
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import ApproverRow
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.approver_keys import certificate_name, load_approver_certificate
from keyturn.ska.labels import check_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock
    from keyturn.ska.policy_json import Resolve


class Directory:
    """The directory.

    Args:
        database: The store.
        clock: Where the time comes from.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, name: str, certificate: bytes) -> None:
        """Add an approver; arguments and errors as `Broker.onboard_approver`."""
        try:
            check_label(name)
        except FormatError as error:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"approverName: the rules of labels hold for names. {error.message}",
                refusal="approver.name",
            ) from None
        load_approver_certificate(certificate)
        # A policy shows whom it lists by the name in the certificate.
        certificate_name(certificate)
        row = ApproverRow(name, certificate, self._clock.now())

        def store(tx: Transaction) -> None:
            if tx.one(ApproverRow._make, statements.APPROVER, {"w_name": name}) is not None:
                raise KeyturnError(
                    ErrorCode.APPROVER_ALREADY_EXISTING,
                    f"There is an approver with name {name} already. Choose another name, or remove that entry first.",
                    refusal="approver.exists",
                )
            tx.run(statements.INSERT_APPROVER, row._asdict())

        await self._database.write(store)

    async def entries(self) -> list[DirectoryEntry]:
        """All entries, by name."""
        rows = await self._database.read(lambda tx: tx.all(ApproverRow._make, statements.APPROVERS, {}))
        return [DirectoryEntry(row.name, row.certificate, row.added_at) for row in rows]

    async def remove(self, name: str) -> None:
        """Remove an entry. Raises 654 for an unknown name."""

        def store(tx: Transaction) -> None:
            if tx.run(statements.DELETE_APPROVER, {"w_name": name}) == 0:
                raise _unknown(name)

        await self._database.write(store)


def resolver(certificates: Mapping[str, bytes | None]) -> Resolve:
    """Make the look-up that `policy_from_json` takes.

    Args:
        certificates: Certificates by name (`Broker.approver_certificates`).

    Returns:
        A function that raises 654 `approver.unknown` for a name that is not there, and 414 `approver.not-onboarded` for
        one whose holder does not have the key yet.
    """

    def resolve(name: str) -> bytes:
        if name not in certificates:
            raise _unknown(name)
        found = certificates[name]
        if found is None:
            raise KeyturnError(
                ErrorCode.APPROVER_NOT_ONBOARDED,
                f"Approver with name {name[:128]!a} is not onboarded yet: nobody has the key. Onboard them with their "
                "one-time code first.",
                refusal="approver.not-onboarded",
            )
        return found

    return resolve


def _unknown(name: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.APPROVER_NOT_EXISTENT,
        f"Approver with name {name[:128]!a} does not exist in the directory. Onboard them first "
        "(keyturn approver onboard), or list the certificate itself with type certificate.",
        refusal="approver.unknown",
    )
