"""What a run tells of its members' fit."""

from quandary_server.clock import now
from quandary_server.storage.run_values import RunTrigger
from quandary_server.storage.store import Store
from quandary_server.trainer.fit_report import STARVES_AFTER_S, FitReport
from quandary_server.trainer.members import FitProgress
from quandary_server.trainer.run_record import RunRecord


def test_a_line_a_quarter_and_one_where_no_member_begins(store: Store) -> None:
    run, now_s = store.runs.create(trigger=RunTrigger.CALL, now=now()), [0.0]
    report = FitReport(RunRecord(store, run, now), 2, 40, lambda: now_s[0])
    for now_s[0] in (0.0, STARVES_AFTER_S - 1, STARVES_AFTER_S, STARVES_AFTER_S + 1):
        report(FitProgress(0.0, float("nan"), 0))
    for share in (0.1, 0.3, 0.4, 1.0):
        report(FitProgress(share, 0.5, int(share) * 2))
    assert store.runs.get(run.id).stage_progress == 1.0
    assert [line.text for line in store.run_log.lines(run.id)] == [
        "training 2 members of 40 steps each: 0% done, 0 members finished",
        "no member has begun for a minute: Ray has no CPU to spare; replicas may reserve all of them",
        "training 2 members of 40 steps each: 30% done, 0 members finished, mean loss 0.500",
        "training 2 members of 40 steps each: 100% done, 2 members finished, mean loss 0.500",
    ]
