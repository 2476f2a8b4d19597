"""Settings that exclude or need each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.config.refusing import refuse
from keyturn.config.settings import DEFAULTS, EMBEDDED, NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.config.settings import Settings
    from keyturn.errors import KeyturnError


def check_together(settings: Settings, places: Mapping[str, str]) -> None:
    """Refuse settings that would do nothing, or less than they say: whoever wrote them expects something.

    Args:
        settings: All of them.
        places: Field to where it was found, for the message.

    Raises:
        KeyturnError: 301 `config.contradiction`, `config.tls-missing`, naming place and setting.
    """
    _check_hsm(settings, places)
    _check_approver_management(settings, places)
    _check_tls(settings, places)
    _check_access(settings, places)
    _check_files(settings, places)


def _against(places: Mapping[str, str], name: str, message: str, refusal: str = "config.contradiction") -> KeyturnError:
    return refuse(f"{places.get(NAMES[name], name)}: {message}", refusal)


def _check_hsm(settings: Settings, places: Mapping[str, str]) -> None:
    if settings.profile == "air-gapped" and settings.hsm_address:
        raise _against(places, "hsm.address", "the air-gapped profile has no HSM; leave it out.")
    if settings.profile == "local" and settings.attestation_certificates:
        raise _against(
            places,
            "offlineHsm.attestationCertificates",
            "only the air-gapped profile registers keys of an offline HSM.",
        )
    own = [name for name, field in NAMES.items() if field in EMBEDDED and getattr(settings, field) != DEFAULTS[field]]
    if own and (settings.profile == "air-gapped" or settings.hsm_address):
        raise _against(
            places,
            own[0],
            "configures the HSM that is started beside the broker, and none is. An HSM of its own reads its own "
            "settings, never the broker's (keyturn hsm serve --help).",
        )
    tls = {
        "hsm.tls.ca": settings.hsm_tls_ca,
        "hsm.tls.certificate": settings.hsm_tls_certificate,
        "hsm.tls.key": settings.hsm_tls_key,
    }
    given = [name for name, path in tls.items() if path]
    if settings.hsm_address.startswith("tcp:"):
        if len(given) < len(tls):
            raise _against(
                places,
                "hsm.address",
                "an HSM over TCP needs hsm.tls.ca, hsm.tls.certificate and hsm.tls.key (mutual TLS).",
                "config.tls-missing",
            )
    elif given:
        raise _against(places, given[0], "is used only with an hsm.address that begins with tcp://.")


def _check_approver_management(settings: Settings, places: Mapping[str, str]) -> None:
    if settings.approver_management and settings.profile == "air-gapped":
        raise _against(
            places,
            "approverManagement.enabled",
            "the air-gapped profile has no HSM, which would make the approvers' keys; leave it out.",
        )
    if settings.hsm_allow_open_backup_key and not (settings.approver_management or settings.hsm_backup_key_name):
        raise _against(
            places,
            "hsm.allowOpenBackupKey",
            "does nothing without approver management, whose backup key it is about; leave it out, or set "
            "approverManagement.enabled.",
        )


def _check_tls(settings: Settings, places: Mapping[str, str]) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        name = "tls.key" if settings.tls_certificate is None else "tls.certificate"
        raise _against(places, name, "a server needs both tls.certificate and tls.key.", "config.tls-missing")
    others = ("tls.minimumVersion", "tls.clientAuthentication", "tls.clientCa")
    for name in others:
        if getattr(settings, NAMES[name]) != DEFAULTS[NAMES[name]] and settings.tls_certificate is None:
            raise _against(places, name, "does nothing without TLS; name tls.certificate and tls.key.")
    if (settings.tls_client_authentication != "none") != (settings.tls_client_ca is not None):
        name = "tls.clientCa" if settings.tls_client_ca else "tls.clientAuthentication"
        raise _against(
            places, name, "tls.clientAuthentication `want` or `need` and tls.clientCa, the authorities, go together."
        )


def _check_access(settings: Settings, places: Mapping[str, str]) -> None:
    """API keys and bearer tokens: half of a configuration would let in nobody, or everybody."""
    keys = [name for name, field in NAMES.items() if name.endswith("Token") and getattr(settings, field)]
    if settings.api_keys_enabled and not keys:
        raise _against(
            places,
            "apiAuthentication.enabled",
            "no role has a key, so nobody could call anything; make one with `keyturn config api-key` and put it under "
            "apiAuthentication.serviceToken and the like.",
        )
    if keys and not settings.api_keys_enabled:
        raise _against(places, keys[0], "is not asked for while apiAuthentication.enabled is false; set it to true.")
    for name in ("apiAuthentication.jwt.issuer", "apiAuthentication.jwt.audience"):
        if bool(getattr(settings, NAMES[name])) != (settings.jwks_file is not None):
            given = "apiAuthentication.jwt.jwksFile" if settings.jwks_file else name
            raise _against(places, given, "bearer tokens need jwksFile, issuer and audience, all three.")
    if settings.jwt_role_claim != DEFAULTS["jwt_role_claim"] and settings.jwks_file is None:
        raise _against(
            places, "apiAuthentication.jwt.roleClaim", "does nothing without apiAuthentication.jwt.jwksFile."
        )
    if settings.tls_client_authentication == "want" and not (settings.api_keys_enabled or settings.jwks_file):
        raise _against(
            places,
            "tls.clientAuthentication",
            "with `want` alone everybody could come in without a certificate; take `need`, or ask for API keys or "
            "bearer tokens as well.",
        )


def _check_files(settings: Settings, places: Mapping[str, str]) -> None:
    most = settings.max_file_size
    if settings.max_spooled < most:
        name = "files.maxSize" if "max_file_size" in places else "files.maxWaiting"
        raise _against(places, name, "no file of files.maxSize fits into files.maxWaiting; make one of them other.")
    if 0 < settings.max_file_request_size < most and "max_file_size" in places:
        raise _against(
            places, "files.maxRequestSize", "a file of files.maxSize needs a request at least as large; raise it."
        )
