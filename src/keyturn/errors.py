"""The one family of errors.

Every refusal keyturn gives carries an `ErrorCode` (number, reason and HTTP status of the REST API's error
table) and a message a person can act on. The HSM adds a `Refusal`: a finer, stable word that says which check
refused. Internal errors never travel; `api` renders these and nothing else.

Rules: names end in `Error`; security functions raise, they never return a flag.
Source: rest-api.md section 1.4 (codes, reasons, statuses).
"""

from __future__ import annotations

from enum import Enum


class ErrorCode(Enum):
    """One row of the REST API's error table: number, reason, HTTP status."""

    TECHNICAL = (1, "res.error.technical", 500)
    CONNECTIVITY = (2, "res.error.connectivity", 500)
    CONFIG_NOT_VALID = (301, "res.error.config.not.valid", 500)
    SECURITY_NOT_ALLOWED = (400, "res.error.security.not.allowed", 403)
    MISSING_APPROVAL = (401, "res.error.missing.approval", 400)
    INVALID_CERTIFICATE = (402, "res.error.invalid.certificate", 400)
    INVALID_SIGNATURE = (403, "res.error.input.invalid.signature", 400)
    TIMESTAMP_OFF = (404, "res.error.input.timestamp.off", 400)
    TIMESTAMP_SIGNER_NOT_ALLOWED = (405, "res.error.timestamp.signer.not.allowed", 400)
    MISSING_ACCESS_TOKEN = (406, "res.error.missing.access.token", 401)
    PARSING_KEY = (407, "res.error.parsing.key", 400)
    PARSING_CERTIFICATE = (409, "res.error.parsing.certificate", 400)
    DECRYPT_FAILED = (410, "res.error.decrypt.failed", 400)
    INVALID_CERTIFICATE_REQUEST = (411, "res.error.invalid.certificate.request", 400)
    INVALID_ONE_TIME_CODE = (412, "res.error.invalid.onetimepassword", 400)
    APPROVER_NOT_ONBOARDED = (414, "res.error.approver.not.onboarded", 400)
    REQUEST_SIGNER_NOT_ALLOWED = (415, "res.error.request.signer.not.allowed", 400)
    MISSING_API_KEY = (416, "res.error.missing.api.key", 401)
    VALIDATION_FAILED = (600, "res.error.input.validation.failed", 400)
    UNSUPPORTED_APPROVER_KEY_TYPE = (601, "res.error.unsupported.approver.key.type", 400)
    UNSUPPORTED_APPROVAL_COMBINATION = (602, "res.error.unsupported.combination.of.approval.types", 400)
    KEY_SIZE = (603, "res.error.input.keysize", 400)
    NO_NAME_FOR_CERTIFICATE_APPROVER = (604, "res.error.input.no.name.for.certificate.approver", 400)
    UNSUPPORTED_CRYPTOCURRENCY = (605, "res.error.unsupported.cryptocurrency", 400)
    KEY_ATTRIBUTES_INVALID = (606, "res.error.key.attributes.invalid", 400)
    ALGORITHM_NOT_SUPPORTED_BY_KEY = (607, "res.error.algorithm.not.supported.by.key", 400)
    KEY_ALREADY_EXISTING = (608, "res.error.key.already.existing", 400)
    INVALID_KEY_NAME = (610, "res.error.invalid.key.name", 400)
    UNSUPPORTED_OPERATION = (611, "res.error.unsupported.operation", 400)
    INVALID_PAYLOAD = (612, "res.error.invalid.payload", 400)
    INVALID_KEY_TYPE = (613, "res.error.invalid.key.type", 400)
    OPERATION_FORBIDDEN_FOR_KEY = (614, "res.error.operation.forbidden.for.key", 400)
    DATA_OBJECT_ALREADY_EXISTING = (615, "res.error.data.object.already.existing", 400)
    DATA_OBJECT_INVALID_VALUE = (616, "res.error.data.object.invalid.value", 400)
    INVALID_ACCESS_TOKEN = (617, "res.error.invalid.access.token", 401)
    INSUFFICIENT_LOGIN_INFORMATION = (618, "res.error.insufficient.login.information", 401)
    INVALID_NUMBER_RANGE = (619, "res.error.invalid.number.range", 400)
    KEY_PASSWORD_MISMATCH = (620, "res.error.key.password.mismatch", 400)
    INVALID_JSON = (621, "res.error.invalid.json", 400)
    INVALID_FILE_HEADER = (623, "res.error.invalid.file.header", 400)
    INVALID_TAG_LENGTH = (624, "res.error.key.invalid.tagLength", 400)
    CERTIFICATE_ENCODING = (626, "res.error.certificate.invalid.encoding", 400)
    CSR_FORMAT = (628, "res.error.csr.invalid.format", 400)
    UNSUPPORTED_CIPHER = (629, "res.error.unsupported.cipher", 400)
    INVALID_ADDRESS_ON_NON_SKA_KEY = (630, "res.error.invalid.address.on.non.ska.key", 400)
    INVALID_API_KEY = (631, "res.error.invalid.api.key", 401)
    APPROVER_ALREADY_EXISTING = (632, "res.error.approver.already.existing", 400)
    DERIVATION_NOT_SUPPORTED = (634, "res.error.derivation.not.supported.by.algorithm", 400)
    ENCODING = (635, "res.error.encoding.exception", 400)
    KEY_NOT_EXISTENT = (650, "res.error.key.not.existent", 404)
    REQUEST_NOT_EXISTENT = (651, "res.error.request.not.existent", 404)
    TASK_NOT_EXISTENT = (652, "res.error.task.not.existent", 404)
    DATA_OBJECT_NOT_EXISTENT = (653, "res.error.data.object.not.existent", 404)
    APPROVER_NOT_EXISTENT = (654, "res.error.approver.not.existent", 404)
    HSM_FAILURE = (700, "res.error.in.subystem", 500)
    """The HSM itself is unwell (store, clock, sealed), spelled as the documented table spells it."""
    IN_HSM = (701, "res.error.in.hsm", 400)
    """A refusal by the HSM. The documented server answers 500; keyturn says 400, because the caller can cure it."""
    CREATION_INTEGRITY_KEY = (702, "res.error.creation.integrity.key", 500)
    """The key that signs timestamps cannot be made: there is no root key store yet, or the clock is not believed."""
    IO = (703, "res.error.io", 500)

    @property
    def number(self) -> int:
        """The `errorCode` of the error body."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """The `reason` of the error body."""
        return self.value[1]

    @property
    def http_status(self) -> int:
        """The HTTP status under which this code is answered."""
        return self.value[2]


class KeyturnError(Exception):
    """A refusal or failure with a stable code and a message that names the cure.

    Args:
        code: Row of the error table.
        message: What was wrong, where, and what to do about it. Never contains secrets.
        refusal: The stable word of the check that refused, such as `approval.wrong-label`; it stands in the
            HSM's decision log and in its answers. Empty where the code says it all.
    """

    def __init__(self, code: ErrorCode, message: str, *, refusal: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.refusal = refusal

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code.name, self.message, self.refusal))


def _rebuild(kind: type[KeyturnError], code: str, message: str, refusal: str) -> KeyturnError:
    return kind(ErrorCode[code], message, refusal=refusal)


class FormatError(KeyturnError):
    """Bytes or JSON that do not have the form they must have; raised by every parser of hostile input.

    Args:
        message: What was wrong and where.
        code: Row of the error table, `VALIDATION_FAILED` unless a finer one fits.
        refusal: Stable word, `format.invalid` unless a finer one fits.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode = ErrorCode.VALIDATION_FAILED,
        refusal: str = "format.invalid",
    ) -> None:
        super().__init__(code, message, refusal=refusal)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_format, (type(self), self.message, self.code.name, self.refusal))


def _rebuild_format(kind: type[FormatError], message: str, code: str, refusal: str) -> FormatError:
    return kind(message, code=ErrorCode[code], refusal=refusal)
