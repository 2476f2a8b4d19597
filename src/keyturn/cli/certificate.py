"""`keyturn certificate`: requests for certificates, certificates, and which one belongs to a key.

Everything that a key signs is asked for as a request. A key without a policy signs at once; for one with a policy the
command ends while officers look at the exact bytes (R17), and `result` fetches what came of it.

Source: rest-api.md section 3.5; docs/guide/certificates.md.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn.approver.terminal import visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, OfficerGroup, ca_file_option, json_option, read_file, url_option
from keyturn.cli.outcome import deliver, out_option, password_in, password_option, require_free
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.client import RestClient

EXIT_WAITING: Final = 3
"""Exit code where approvals are missing: nothing is signed yet."""
MAX_FILE: Final = 1 << 20
"""Largest request or certificate read, in bytes."""
_EXECUTED: Final = "EXECUTED"
_OPEN: Final = ("PENDING", "APPROVED")
_PARTS: Final = {
    NameOID.COMMON_NAME: "commonName",
    NameOID.COUNTRY_NAME: "country",
    NameOID.STATE_OR_PROVINCE_NAME: "stateOrProvinceName",
    NameOID.LOCALITY_NAME: "locality",
    NameOID.ORGANIZATION_NAME: "organizationName",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizationUnitName",
    NameOID.EMAIL_ADDRESS: "email",
    NameOID.TITLE: "title",
    NameOID.SURNAME: "surname",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.INITIALS: "initials",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
}
"""Parts of a name, as the API calls them."""


@click.group(
    cls=OfficerGroup,
    epilog=examples(
        "keyturn certificate csr web --subject CN=www.example.org --name DNS:www.example.org \\\n"
        "      --algorithm SHA256_WITH_ECDSA --url http://127.0.0.1:8080",
        "keyturn certificate show web --url http://127.0.0.1:8080",
    ),
)
def certificate() -> None:
    """Have a key sign a request for a certificate, or a certificate; see and change which one belongs to a key."""


def _signing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all that a key signs; the command gets them as keyword arguments."""
    for option in (
        json_option,
        ca_file_option,
        out_option,
        password_option,
        click.option(
            "--name", "names", multiple=True, help="Another name: DNS:, IP:, URI: or EMAIL: before it (repeatable)."
        ),
        click.option(
            "--extended-usage",
            "extended_usages",
            multiple=True,
            help="Such as SERVER_AUTH or OCSP_SIGNING (repeatable).",
        ),
        click.option("--usage", "usages", multiple=True, help="Such as DIGITAL_SIGNATURE or CRL_SIGN (repeatable)."),
        click.option("--algorithm", required=True, help="How the key signs, such as SHA256_WITH_ECDSA."),
        url_option,
    ):
        command = option(command)
    return command


@certificate.command(
    short_help="Make a request for a certificate (PKCS#10).",
    epilog=examples(
        "keyturn certificate csr web --subject CN=www.example.org,O=ACME --out web.csr \\\n"
        "      --algorithm SHA256_WITH_ECDSA --url http://127.0.0.1:8080",
    ),
)
@click.argument("label")
@click.option("--subject", required=True, help="The name, as RFC 4514 writes it: CN=…,O=…,C=…")
@_signing
def csr(label: str, *, subject: str, **options: Any) -> None:
    """Make a request for a certificate (PKCS#10), signed by the key LABEL itself."""
    body = _body(label, options) | {"standardCertificateAttributes": name_parts(subject)}
    _open_and_tell(lambda server: server.request_certificate(body), **options)


@certificate.command(
    "self-signed",
    short_help="Make a certificate that the key signs for itself.",
    epilog=examples(
        "keyturn certificate self-signed root --subject CN=Root,O=ACME --ca --days 3650 --out root.pem \\\n"
        "      --algorithm SHA256_WITH_ECDSA --url http://127.0.0.1:8080",
    ),
)
@click.argument("label")
@click.option("--subject", required=True, help="The name, as RFC 4514 writes it: CN=…,O=…,C=…")
@click.option("--days", type=click.IntRange(min=1), default=365, show_default=True, help="How long it is valid.")
@click.option("--ca", is_flag=True, help="It is an authority: it may issue certificates.")
@_signing
def self_signed(label: str, *, subject: str, days: int, ca: bool, **options: Any) -> None:
    """Make a certificate that the key LABEL signs for itself; the server attaches it to the key."""
    body = _body(label, options) | {
        "standardCertificateAttributes": name_parts(subject),
        "validity": days,
        "certificateAuthority": ca,
    }
    _open_and_tell(lambda server: server.selfsign_certificate(body), **options)


@certificate.command(
    short_help="Issue a certificate that answers a request.",
    epilog=examples(
        "keyturn certificate issue web.csr --by root --days 90 --copy-extensions --out web.pem \\\n"
        "      --algorithm SHA256_WITH_ECDSA --url http://127.0.0.1:8080",
    ),
)
@click.argument("file", type=FILE)
@click.option("--by", required=True, help="Label of the key that signs: the authority's.")
@click.option("--subject", help="Another name than the request's own, as RFC 4514 writes it.")
@click.option("--days", type=click.IntRange(min=1), default=90, show_default=True, help="How long it is valid.")
@click.option("--ca", is_flag=True, help="It is for another authority, which may issue certificates.")
@click.option("--copy-extensions", is_flag=True, help="Take over the harmless extensions that the request asks for.")
@click.option("--attach", help="Label of the key that it is for, where this server has it.")
@_signing
def issue(
    file: Path,
    *,
    by: str,
    subject: str | None,
    days: int,
    ca: bool,
    copy_extensions: bool,
    attach: str | None,
    **options: Any,
) -> None:
    """Issue a certificate that answers the request in FILE (PKCS#10, PEM or DER)."""
    body = _body(by, options) | {
        "certificateSigningRequest": _request_in(file),
        "validity": days,
        "certificateAuthority": ca,
        "copyExtensions": "COPY" if copy_extensions else "NO_COPY",
    }
    if attach is not None:
        body["keyName"] = attach
    if subject is not None:
        body["standardCertificateAttributes"] = name_parts(subject)
    _open_and_tell(lambda server: server.sign_certificate(body), **options)


@certificate.command(
    short_help="Fetch what a key signed after officers had approved it.",
    epilog=examples(
        "keyturn certificate result 6f1c1a52-8a2f-4a3d-9a52-0e6f0d6f1b11 --out web.pem --url http://127.0.0.1:8080",
    ),
)
@click.argument("request_id", metavar="REQUEST")
@url_option
@out_option
@ca_file_option
@json_option
def result(request_id: str, *, url: str, out: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Fetch what a key signed, or hear who has still to approve.

    Exit code 0: it is there; 1: it will not come; 3: approvals are missing.
    """
    with connect(url, ca_file) as server:
        _tell(server, request_id, out=out, as_json=as_json)


@certificate.command(
    short_help="Show the certificate that is attached to a key.",
    epilog=examples("keyturn certificate show root --out root.pem --url http://127.0.0.1:8080"),
)
@click.argument("label")
@url_option
@out_option
@ca_file_option
@json_option
def show(label: str, *, url: str, out: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Show the certificate that is attached to the key LABEL, PEM."""
    with connect(url, ca_file) as server:
        pem = _whole_pem(server.certificate(label))
    deliver(pem, {"label": label, "certificate": pem}, out=out, as_json=as_json)


@certificate.command(
    short_help="Attach a certificate that another authority issued.",
    epilog=examples("keyturn certificate attach web web.pem --url http://127.0.0.1:8080"),
)
@click.argument("label")
@click.argument("file", type=FILE)
@url_option
@ca_file_option
@json_option
def attach(label: str, file: Path, *, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Attach the certificate in FILE (PEM or DER) to the key LABEL that it is for."""
    der = _certificate_in(file)
    with connect(url, ca_file) as server:
        server.import_certificate(label, der)
    click.echo(json.dumps({"label": label, "attached": True}) if as_json else "attached")


def name_parts(subject: str) -> dict[str, str]:
    """A name in the API's words.

    Args:
        subject: As RFC 4514 writes it.

    Raises:
        FormatError: `certificate.subject` if it cannot be read, has a part that the API has no word for, or one twice.
    """
    try:
        read = x509.Name.from_rfc4514_string(subject, {"E": NameOID.EMAIL_ADDRESS, "SN": NameOID.SURNAME})
    except ValueError:
        raise FormatError(
            f"The name {subject!a} cannot be read. Write it as CN=www.example.org,O=Example,C=CH.",
            refusal="certificate.subject",
        ) from None
    parts: dict[str, str] = {}
    for attribute in read:
        word = _PARTS.get(attribute.oid)
        if word is None or word in parts:
            why = "stands twice" if word else "has no place in a certificate here"
            raise FormatError(
                f"The part {attribute.rfc4514_string()!a} of the name {why}.", refusal="certificate.subject"
            )
        parts[word] = str(attribute.value)
    return parts


def _body(label: str, options: dict[str, Any]) -> dict[str, Any]:
    """The members that all three bodies have."""
    body: dict[str, Any] = {"signKeyName": label, "signatureAlgorithm": options["algorithm"]}
    for name, given in (("keyUsage", options["usages"]), ("extendedKeyUsage", options["extended_usages"])):
        if given:
            body[name] = list(given)
    if options["names"]:
        pairs = [name.partition(":") for name in options["names"]]
        body["subjectAlternativeNames"] = [{"sanType": kind.upper(), "sanValue": value} for kind, _, value in pairs]
    if (password := password_in(options["password_file"])) is not None:
        body["keyPassword"] = password
    return body


def _open_and_tell(
    ask: Callable[[RestClient], str], *, url: str, ca_file: Path | None, out: Path | None, as_json: bool, **_: Any
) -> None:
    require_free(out)
    with connect(url, ca_file) as server:
        _tell(server, ask(server), out=out, as_json=as_json)


def _tell(server: RestClient, request_id: str, *, out: Path | None, as_json: bool) -> None:
    """Give what came of a request, or say what it waits for."""
    found = server.request(request_id)
    status = str(found.get("status"))
    if status == _EXECUTED:
        pem = _whole_pem(str(found.get("result")))
        deliver(pem, {"request": request_id, "status": status, "result": pem}, out=out, as_json=as_json)
        return
    if status not in _OPEN:
        why = str(found.get("failure") or "It was rejected, cancelled, or came too late.")
        raise KeyturnError(
            ErrorCode.IN_HSM, f"The request {request_id} is {status}: {why}", refusal="certificate.not-made"
        )
    if as_json:
        click.echo(json.dumps({"request": request_id, "status": status, "result": None}, indent=2))
    else:
        approved, missing = (len(found.get(name) or ()) for name in ("approvedBy", "notYetApprovedBy"))
        click.echo(
            f"Request {visible(request_id)} waits for officers: {approved} approved, {missing} have not yet. Then:\n"
            f"  keyturn certificate result {visible(request_id)} --url {server.base_url}"
        )
    sys.exit(EXIT_WAITING)


def _request_in(file: Path) -> str:
    """A request for a certificate as the API takes it: PEM."""
    content = read_file(file, MAX_FILE)
    try:
        pem = content.lstrip().startswith(b"-----BEGIN")
        read = x509.load_pem_x509_csr(content) if pem else x509.load_der_x509_csr(content)
    except ValueError:
        raise FormatError(
            f"{file} is no request for a certificate (PKCS#10, PEM or DER).", refusal="certificate.request-file"
        ) from None
    return read.public_bytes(Encoding.PEM).decode()


def _certificate_in(file: Path) -> bytes:
    content = read_file(file, MAX_FILE)
    try:
        pem = content.lstrip().startswith(b"-----BEGIN")
        read = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except ValueError:
        raise FormatError(f"{file} is no certificate (X.509, PEM or DER).", refusal="certificate.file") from None
    return read.public_bytes(Encoding.DER)


def _whole_pem(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
