"""Slow key operations in processes of their own, so that the one loop that decides never waits.

The parent starts `python -m keyturn.hsm.worker` children when the first slow operation comes, never more than
`WorkerPool.size`, and speaks with them over their standard input and output in frames of `keyturn.hsm.framing`.
A worker holds nothing but the key it is making or signing with: no store, no passphrase, no policy; it decides
nothing. A key reaches it over its standard input for one signature that the parent has decided, and is dropped with it.
It also judges approvers' public keys, which is slow where they are large.
It is hardened like its parent and dies with it (end of its input, and PR_SET_PDEATHSIG).

Together parent and workers are "the HSM process" of ARCHITECTURE.md. What is slow stands in the registry of
`keyturn.crypto.keys`, not here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.crypto import registry
from keyturn.crypto.keys import (
    SECRET_KEY_TYPES,
    generate,
    generate_secret,
    kind_of,
    make_spec,
    private_key_from_stored,
    private_key_to_stored,
    public_spki,
)
from keyturn.crypto.registry import check_options
from keyturn.crypto.schemes import SignOptions
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.framing import FrameReader, encode_frame
from keyturn.hsm.hardening import KEPT_ENVIRONMENT, die_with_parent, harden_process
from keyturn.ska.approver_keys import load_approver_key

if TYPE_CHECKING:
    from keyturn.crypto.keys import KeySpec, PrivateKey

MAX_WAITING: Final = 32
"""Slow operations that may wait for a worker; a further one is refused, it would wait for minutes."""

_MAX_RESULT: Final = 1 << 18
"""Largest answer of a worker in bytes; a key of XMSS with its tree has 65 604, an SLH-DSA signature 49 856."""


class GenerateKey(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a worker is asked: make a key of this kind."""

    algorithm: str
    curve_oid: str
    key_size: int
    allow_weak: bool


class Generated(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: the new key pair, PKCS#8 and SPKI. It travels in a pipe that only parent and worker hold."""

    private_key: bytes
    public_key: bytes

    def __repr__(self) -> str:
        return "Generated(…)"


class SignPayload(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a worker is asked: sign with this key, which travels as the store holds it."""

    key_type: str
    private_key: bytes
    algorithm: str
    payload: bytes
    signature_type: str
    context: bytes | None

    def __repr__(self) -> str:
        return "SignPayload(…)"


class SignatureMade(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: the signature."""

    signature: bytes


class MakeApproverFile(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a worker is asked: make an officer's PKCS#12 file, and where there is none yet the key in it.

    Args:
        name: The approver's name.
        password: Of the new file, UTF-8.
        key_size: Bits of the key that is made; 0 where there is one.
        days: Validity of the certificate that is made with it.
        now: Seconds since the epoch, its beginning.
        private_key: The key, where there is one, as it is kept.
        certificate: Its certificate, DER.
        file: The file so far, which the next must open; empty where nobody has to know it.
        file_password: Its password.
    """

    name: str
    password: bytes
    key_size: int = 0
    days: int = 0
    now: int = 0
    private_key: bytes = b""
    certificate: bytes = b""
    file: bytes = b""
    file_password: bytes = b""

    def __repr__(self) -> str:
        return "MakeApproverFile(…)"


class ApproverFileMade(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: an officer's key as it is kept, certificate (DER) and PKCS#12 file."""

    private_key: bytes
    certificate: bytes
    file: bytes

    def __repr__(self) -> str:
        return "ApproverFileMade(…)"


class JudgeKeys(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a worker is asked: whether these public keys (SubjectPublicKeyInfo) may stand in a policy."""

    keys: list[bytes]


class KeysJudged(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: for each key code, word and message of its refusal, all empty for a sound one."""

    refusals: list[tuple[str, str, str]]


class Rejected(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: what is asked is refused, with the words of a `KeyturnError`."""

    code: str
    refusal: str
    message: str


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker's answer: it did not work; `message` names the kind of error only."""

    message: str


Job = GenerateKey | SignPayload | MakeApproverFile | JudgeKeys
Made = Generated | SignatureMade | ApproverFileMade | KeysJudged
Result = Made | Rejected | Failed


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key on its way into the store.

    Args:
        private_key: PKCS#8, DER; of a symmetric key its bytes.
        public_key: SPKI, DER; empty for a symmetric key.
    """

    private_key: bytes = field(repr=False)
    public_key: bytes


def make_key_pair(spec: KeySpec) -> KeyPair:
    """Make a key here and now.

    Args:
        spec: What key.

    Returns:
        Both halves, encoded.
    """
    if spec.algorithm in SECRET_KEY_TYPES:
        return KeyPair(generate_secret(spec).value, b"")
    key = generate(spec)
    return KeyPair(private_key_to_stored(key), public_spki(key))


_jobs: Final = msgspec.msgpack.Decoder(tuple[int, Job])
_results: Final = msgspec.msgpack.Decoder(tuple[int, Result])


class _Worker:
    """One child process, busy with at most one job."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._reader = FrameReader(_MAX_RESULT)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def run(self, job: Job) -> Made | Rejected:
        """Have the worker do `job`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise _failed("has no pipes")
        stdin.write(encode_frame(0, job))
        frames: list[bytes] = []
        while not frames:
            data = await stdout.read(_MAX_RESULT)
            if not data:
                raise _failed("ended without an answer")
            frames = self._reader.feed(data)
        result = _results.decode(frames[0])[1]
        if isinstance(result, Failed):
            raise _failed(f"failed with {result.message}")
        return result

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


def _failed(what: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.HSM_FAILURE, f"a worker process of the HSM {what}; try again", refusal="worker.failed"
    )


class WorkerPool:
    """The bounded pool of workers. For one event loop.

    Args:
        size: Most processes at a time; by default one per processor, at most four.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size or max(1, min(4, os.cpu_count() or 1))
        self._free = asyncio.Semaphore(self.size)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._waiting = 0

    async def generate(self, spec: KeySpec, *, allow_weak: bool = False) -> KeyPair:
        """Make a key in a worker.

        Args:
            spec: What key.
            allow_weak: Whether sizes below the limits are allowed; as in `make_spec`.

        Returns:
            The key pair.

        Raises:
            KeyturnError: `worker.busy` when too many wait already; `worker.failed` when the worker broke.
        """
        made = await self._run(GenerateKey(spec.algorithm, spec.curve_oid, spec.key_size, allow_weak))
        if not isinstance(made, Generated):
            raise _failed("gave another answer than a key")
        return KeyPair(made.private_key, made.public_key)

    async def sign(
        self, key: PrivateKey, algorithm: str, payload: bytes, signature_type: str, options: SignOptions
    ) -> bytes:
        """Sign in a worker. Whoever asks has decided that it may be signed, and decides again before it leaves.

        Args:
            key: The key, as the door gave it.
            algorithm: As in `registry.sign`, as are the others.
            payload: What is signed.
            signature_type: The form.
            options: Further parameters; but the context, algorithms that are slow take none.

        Returns:
            The signature.

        Raises:
            KeyturnError: As `generate`, and as `registry.sign`.
        """
        check_options(algorithm, options)
        stored = private_key_to_stored(key)
        job = SignPayload(kind_of(key).name, stored, algorithm, payload, signature_type, options.context)
        made = await self._run(job)
        if not isinstance(made, SignatureMade):
            raise _failed("gave another answer than a signature")
        return made.signature

    async def approver_file(self, job: MakeApproverFile) -> ApproverFileMade:
        """Make an officer's file, and where there is none yet their key, in a worker.

        Args:
            job: What is made.

        Returns:
            Key, certificate and file.

        Raises:
            KeyturnError: As `generate`; 620 `approver.backup-password`, if the password so far is another.
        """
        made = await self._run(job)
        if not isinstance(made, ApproverFileMade):
            raise _failed("gave another answer than a file")
        return made

    async def judge(self, keys: list[bytes]) -> list[tuple[str, str, str]]:
        """Judge approvers' public keys in a worker, as `load_approver_key` does.

        Args:
            keys: SubjectPublicKeyInfo of each.

        Returns:
            For each, code, word and message of its refusal, all empty for a sound one.

        Raises:
            KeyturnError: As `generate`.
        """
        made = await self._run(JudgeKeys(keys))
        if not isinstance(made, KeysJudged) or len(made.refusals) != len(keys):
            raise _failed("gave another answer than judgements")
        return made.refusals

    async def _run(self, job: Job) -> Made:
        if self._waiting >= MAX_WAITING:
            raise KeyturnError(
                ErrorCode.HSM_FAILURE,
                f"{MAX_WAITING} slow operations are waiting already; try again later",
                refusal="worker.busy",
            )
        self._waiting += 1
        try:
            async with self._free:
                worker = await self._take()
                try:
                    made = await worker.run(job)
                except BaseException:
                    # Whatever went wrong, its state is unknown now: a fresh one next time.
                    self._all.discard(worker)
                    await worker.stop()
                    raise
                self._idle.append(worker)
        finally:
            self._waiting -= 1
        if isinstance(made, Rejected):
            raise KeyturnError(ErrorCode[made.code], made.message, refusal=made.refusal)
        return made

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._all.discard(worker)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "keyturn.hsm.worker", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in KEPT_ENVIRONMENT & set(os.environ)},
        )
        worker = _Worker(process)
        self._all.add(worker)
        return worker

    async def close(self) -> None:
        """Stop all workers, whatever they do."""
        workers, self._all, self._idle = self._all, set(), []
        for worker in workers:
            await worker.stop()


def _make_approver_file(job: MakeApproverFile) -> ApproverFileMade:
    # Few HSMs ever need it.
    from keyturn.crypto.approver_files import approver_certificate, approver_file, require_file_password

    private_key, certificate = job.private_key, job.certificate
    if not private_key:
        private_key = make_key_pair(make_spec("RSA", "", job.key_size)).private_key
        certificate = approver_certificate(private_key, job.name, job.days, job.now)
    if job.file:
        require_file_password(job.file, job.file_password)
    return ApproverFileMade(private_key, certificate, approver_file(private_key, certificate, job.name, job.password))


def _judged(spki: bytes) -> tuple[str, str, str]:
    try:
        load_approver_key(spki)
    except KeyturnError as error:
        return error.code.name, error.refusal, error.message
    return "", "", ""


def _work(job: Job) -> Result:
    try:
        if isinstance(job, MakeApproverFile):
            return _make_approver_file(job)
        if isinstance(job, JudgeKeys):
            return KeysJudged([_judged(spki) for spki in job.keys])
        if isinstance(job, SignPayload):
            key = private_key_from_stored(job.key_type, job.private_key)
            options = SignOptions(context=job.context)
            return SignatureMade(registry.sign(key, job.algorithm, job.payload, job.signature_type, options))
        spec = make_spec(job.algorithm, job.curve_oid, job.key_size, allow_weak=job.allow_weak)
        pair = make_key_pair(spec)
        return Generated(pair.private_key, pair.public_key)
    except KeyturnError as error:
        return Rejected(error.code.name, error.refusal, error.message)
    except Exception as error:
        return Failed(type(error).__name__)


def main() -> None:
    """Serve jobs from standard input until it ends. The one argument is the parent's process id."""
    die_with_parent(int(sys.argv[1]))
    harden_process()
    reader = FrameReader()
    while data := os.read(0, 1 << 16):
        for frame in reader.feed(data):
            answer = encode_frame(0, _work(_jobs.decode(frame)[1]))
            while answer:
                answer = answer[os.write(1, answer) :]


if __name__ == "__main__":
    main()
