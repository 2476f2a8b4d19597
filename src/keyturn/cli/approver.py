"""`keyturn approver`: keys, tasks and decisions of a person who approves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from keyturn.approver.review import FINALITY
from keyturn.cli.approver_directory import list_directory, onboard, remove
from keyturn.cli.approver_keys import contacts, keygen, whoami
from keyturn.cli.approver_withdraw import approvals, withdraw
from keyturn.cli.examples import examples
from keyturn.cli.officer import OfficerGroup, json_option, server_options, session
from keyturn.cli.officer_view import console, finish, review_json, show_review, show_tasks, task_json
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.approver.client import ApproverClient, Sent
    from keyturn.approver.review import Review
    from keyturn.approver.tasks import Task


@click.group(
    cls=OfficerGroup,
    epilog=examples(
        "keyturn approver keygen --type ec-p256 --out ada.key",
        "keyturn approver tasks --url http://127.0.0.1:8080 --key ada.key",
    ),
)
def approver() -> None:
    """Keys, tasks and decisions of a person who approves."""


approver.add_command(keygen)
approver.add_command(whoami)
approver.add_command(contacts)
approver.add_command(approvals)
approver.add_command(withdraw)
approver.add_command(onboard)
approver.add_command(list_directory)
approver.add_command(remove)


def which_tasks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which tasks a command is about: some by id, or one's own of a request."""
    by_request = click.option("--request", "request_id", help="Your task of this request, instead of TASK.")
    return click.argument("task_ids", metavar="[TASK...]", nargs=-1)(by_request(command))


@approver.command(
    "tasks",
    epilog=examples("keyturn approver tasks --url http://127.0.0.1:8080 --key ada.key --device-cert pinned.pem"),
)
@server_options
@click.option("--request", "request_id", help="Only tasks of this request.")
@json_option
def list_tasks(*, request_id: str | None, as_json: bool, **options: Any) -> None:
    """List what waits for you."""
    with session(**options) as client:
        found = [(task, _outcome(client, task)) for task in client.tasks(request_id=request_id)]
        timeless = 0 if found or as_json else client.waiting_for_time(request_id=request_id)
    if as_json:
        click.echo(json.dumps([task_json(task, outcome) for task, outcome in found], indent=2))
    else:
        show_tasks(found, console(), timeless=timeless)


@approver.command(
    "show",
    short_help="Show what approving a task would sign.",
    epilog=examples(
        "keyturn approver show --request 4f0e --url http://127.0.0.1:8080 --key ada.key --device-cert pinned.pem"
    ),
)
@which_tasks
@server_options
@json_option
def show(*, task_ids: tuple[str, ...], request_id: str | None, as_json: bool, **options: Any) -> None:
    """Show what approving each TASK would sign, decoded here from the bytes themselves."""
    with session(**options) as client:
        reviews = [client.review(task) for task in _chosen(client, task_ids, request_id)]
    if as_json:
        click.echo(json.dumps([review_json(review) for review in reviews], indent=2))
    else:
        for review in reviews:
            show_review(review, console())


@approver.command(
    "approve",
    epilog=examples(
        "keyturn approver approve --request 4f0e --url http://127.0.0.1:8080 --key ada.key --device-cert pinned.pem"
    ),
)
@which_tasks
@server_options
@click.option("--yes", is_flag=True, help="Do not ask; what is signed is still printed.")
@click.option(
    "--accept-old-timestamp",
    is_flag=True,
    help="Approve although the HSM's timestamp was more than 15 minutes old when you were first shown the request.",
)
@json_option
def approve(
    *,
    task_ids: tuple[str, ...],
    request_id: str | None,
    yes: bool,
    accept_old_timestamp: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Approve TASKs, each after it has been shown. If one of them is refused, none is approved."""
    screen = console(err=as_json)
    sent: list[Sent] = []
    with session(**options) as client:
        chosen = _chosen(client, task_ids, request_id)
        if request_id is not None and len(chosen) > 1:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"The server gave {len(chosen)} tasks for one request, of which each approver has one. Look at them "
                "with `keyturn approver show`, approve by the ids of tasks, and ask why there are several.",
                refusal="review.several-tasks",
            )
        reviews = [client.review(task) for task in chosen]
        for review in reviews:
            client.require_approvable(review, accept_old_timestamp=accept_old_timestamp)
        for review in reviews:
            show_review(review, screen)
            screen.print(FINALITY)
            if not yes and not click.confirm("Approve exactly this?", default=False, err=True):
                screen.print(f"Not approved: {review.task_id}")
                continue
            sent.append(client.approve(review, accept_old_timestamp=accept_old_timestamp))
            screen.print(
                f"Approved: {review.task_id}. Signed {len(review.approval)} bytes, words {' '.join(review.words)}"
            )
    finish(sent, "approved", as_json=as_json, complete=len(sent) == len(reviews))


@approver.command(
    "reject",
    short_help="Reject a task with a signed rejection.",
    epilog=examples("keyturn approver reject --request 4f0e --url http://127.0.0.1:8080 --key ada.key"),
)
@which_tasks
@server_options
@click.option("--yes", is_flag=True, help="Do not ask; what is rejected is still printed.")
@json_option
def reject(*, task_ids: tuple[str, ...], request_id: str | None, yes: bool, as_json: bool, **options: Any) -> None:
    """Reject TASKs with a signed rejection, which is kept as evidence. Tasks that lie can be rejected, too."""
    screen = console(err=as_json)
    sent: list[Sent] = []
    with session(**options) as client:
        tasks = _chosen(client, task_ids, request_id)
        for task in tasks:
            outcome = _outcome(client, task)
            if isinstance(outcome, KeyturnError):
                show_tasks([(task, outcome)], screen)
            else:
                show_review(outcome, screen)
            if not yes and not click.confirm("Reject this?", default=False, err=True):
                screen.print(f"Not rejected: {task.id}")
                continue
            sent.append(client.reject(task))
            screen.print(f"Rejected: {task.id}. You cannot approve this request any more.")
    finish(sent, "rejected", as_json=as_json, complete=len(sent) == len(tasks))


def _chosen(client: ApproverClient, task_ids: tuple[str, ...], request_id: str | None) -> list[Task]:
    """The tasks named by id, or this person's tasks of one request."""
    if bool(task_ids) == (request_id is not None):
        raise click.UsageError("Name tasks, or give --request and the id of a request; `tasks` lists both.")
    if request_id is None:
        return [client.task(task_id) for task_id in dict.fromkeys(task_ids)]
    found = client.tasks(request_id=request_id)
    if not found:
        client.require_undecided(request_id)
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "That request has no task that waits for this key: it is decided, gone, or does not list you.",
            refusal="task.none-for-you",
        )
    return list(found)


def _outcome(client: ApproverClient, task: Task) -> Review | KeyturnError:
    """A task's review, or the refusal to show it as honest."""
    try:
        return client.review(task)
    except KeyturnError as error:
        return error
