"""Worker processes: real ones, bounded, replaced when they break."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from keyturn.crypto.keys import describe_spki, make_spec
from keyturn.errors import KeyturnError
from keyturn.hsm.worker import MAX_WAITING, Generated, KeyPair, WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPEC = make_spec("RSA", "", 2048)


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    made = WorkerPool(1)
    yield made
    await made.close()


async def test_a_worker_makes_a_key_and_serves_again(pool: WorkerPool) -> None:
    one, two = await pool.generate(SPEC), await pool.generate(SPEC)
    assert one.public_key != two.public_key
    assert describe_spki(one.public_key)[3] == 2048
    assert len(pool._all) == 1


async def test_a_weak_key_is_made_only_where_the_hsm_allows_it(pool: WorkerPool) -> None:
    weak = make_spec("RSA", "", 1024, allow_weak=True)
    with pytest.raises(KeyturnError) as caught:
        await pool.generate(weak)
    assert caught.value.refusal == "key.weak"
    assert describe_spki((await pool.generate(weak, allow_weak=True)).public_key)[3] == 1024


async def test_a_worker_that_dies_fails_its_job_and_the_next_job_gets_a_fresh_one(pool: WorkerPool) -> None:
    await pool.generate(SPEC)
    worker = next(iter(pool._all))
    job = asyncio.create_task(pool.generate(make_spec("RSA", "", 8192)))
    await asyncio.sleep(0.05)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(KeyturnError) as caught:
        await job
    assert caught.value.refusal == "worker.failed"
    assert (await pool.generate(SPEC)).public_key


async def test_a_worker_that_died_while_idle_is_replaced(pool: WorkerPool) -> None:
    await pool.generate(SPEC)
    worker = next(iter(pool._all))
    os.kill(worker._process.pid, signal.SIGKILL)
    await worker._process.wait()
    assert (await pool.generate(SPEC)).public_key
    assert len(pool._all) == 1


async def test_too_many_slow_operations_are_refused_and_fewer_wait(pool: WorkerPool) -> None:
    jobs = [asyncio.create_task(pool.generate(SPEC)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(KeyturnError) as caught:
        await pool.generate(SPEC)
    assert caught.value.refusal == "worker.busy"
    for job in jobs[1:]:
        job.cancel()
    assert (await jobs[0]).public_key
    await asyncio.gather(*jobs, return_exceptions=True)
    assert (await pool.generate(SPEC)).public_key


def test_a_private_key_on_its_way_shows_in_no_repr() -> None:
    assert "secret" not in repr(KeyPair(b"secret", b"public"))
    assert "secret" not in repr(Generated(b"secret", b"public"))
