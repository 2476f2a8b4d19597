"""Whatever people do in whatever order: the HSM acts at most once, and only with a quorum of listed people."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.broker.states import RequestStatus
from keyturn.errors import KeyturnError
from keyturn_testing.broker_world import memory_world
from keyturn_testing.officers import Officer, make_policy, quorum

OFFICERS = (Officer("ada", "P-256"), Officer("ben", "ED"), Officer("eve", "P-384"), Officer("dan", "secp256k1"))

deeds = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["approve", "reject"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["lose answers", "find the HSM", "time passes", "cancel"]), st.just(0)),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deeds, st.integers(1, 3))
def test_at_most_one_signature_and_never_without_a_quorum(history: list[tuple[str, int]], needed: int) -> None:
    asyncio.run(_live(history, needed))


async def _live(history: list[tuple[str, int]], needed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with memory_world(Path(directory)) as (world, hsm):
            await world.create("treasury", make_policy(use=quorum(needed, *OFFICERS)))
            request_id = await world.ask_signature("treasury")
            tasks = {officer: (await world.tasks(officer))[0] for officer in OFFICERS}
            approved: set[str] = set()
            for deed, who in history:
                officer = OFFICERS[who]
                try:
                    match deed:
                        case "approve":
                            await world.broker.approve(world.approval(officer, tasks[officer]))
                            approved.add(officer.name)
                        case "reject":
                            await world.broker.reject(world.rejection(officer, tasks[officer].task_id))
                        case "lose answers":
                            hsm.loses_answer = True
                        case "find the HSM":
                            hsm.loses_answer = False
                        case "time passes":
                            world.clock.advance(60)
                            await world.broker.run_due()
                        case "cancel":
                            await world.broker.cancel(request_id)
                except KeyturnError:
                    pass
                assert len(hsm.executed) <= 1
                if hsm.executed:
                    assert len(approved) >= needed
                view = await world.view(request_id)
                assert (view.result is not None) == (view.status is RequestStatus.EXECUTED)
                assert not (view.status is RequestStatus.CANCELLED and hsm.executed)
            hsm.loses_answer = False
            world.clock.advance(120)
            await world.broker.run_due()
            view = await world.view(request_id)
            assert bool(hsm.executed) == (view.status is RequestStatus.EXECUTED)
            assert (view.status is RequestStatus.PENDING) <= (len(approved) < needed)
