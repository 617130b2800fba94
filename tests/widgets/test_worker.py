import threading
import time

import pytest

from workbench.widgets.worker import Job, Lanes, Worker, abandonable, in_words


@pytest.fixture
def told():
    return []


@pytest.fixture
def worker(told):
    return Worker(told.append)


def job(work, ended, **more):
    return Job(
        "counting",
        work,
        lambda result: ended.append(("then", result)),
        lambda error: ended.append(("failed", str(error))),
        lambda: ended.append(("cancelled",)),
        **more,
    )


def until_stopped(job):
    assert job.stop.wait(10)
    return "too late"


def test_results_come_in_the_order_asked(worker):
    ended = []
    for number in range(5):
        worker.submit(job(lambda _, number=number: number, ended))
    assert worker.wait(10)
    assert ended == [("then", number) for number in range(5)]


def test_an_error_is_handed_over_and_the_worker_lives_on(worker):
    ended = []
    worker.submit(job(lambda _: 1 / 0, ended))
    worker.submit(job(lambda _: "fine", ended))
    assert worker.wait(10)
    assert ended == [("failed", "division by zero"), ("then", "fine")]


def test_a_cancel_that_comes_while_the_result_is_shown_changes_nothing(worker):
    ended, showing = [], threading.Event()

    def show(result):
        showing.set()
        assert shown.stop.wait(10)
        ended.append(result)

    shown = job(lambda _: "result", ended)
    shown.then = show
    worker.submit(shown)
    assert showing.wait(10)
    worker.cancel()
    assert worker.wait(10)
    assert ended == ["result"]


def test_a_result_that_cannot_be_shown_is_told_even_if_it_is_cancelled_then(worker):
    ended, showing = [], threading.Event()

    def show(result):
        showing.set()
        assert broken.stop.wait(10)
        raise ValueError("no room")

    broken = job(lambda _: "result", ended)
    broken.then = show
    worker.submit(broken)
    assert showing.wait(10)
    worker.cancel()
    assert worker.wait(10)
    assert ended == [("failed", "no room")]


@pytest.mark.parametrize("way", ["failed", "cancelled"])
def test_a_lane_goes_on_even_when_telling_what_went_wrong_fails(worker, way, caplog):
    def mute(*error):
        raise RuntimeError("nobody listens")

    ended, going = [], threading.Event()
    bad = job(lambda job: 1 / 0 if way == "failed" else going.set() or until_stopped(job), ended)
    setattr(bad, way, mute)
    worker.submit(bad)
    if way == "cancelled":
        assert going.wait(10)
        worker.cancel()
    assert worker.wait(10)
    worker.submit(job(lambda _: "fine", ended))
    assert worker.wait(10)
    assert ended == [("then", "fine")]
    assert "nobody listens" in caplog.text


def test_a_lane_goes_on_when_progress_cannot_be_shown():
    def report(told):
        raise RuntimeError("the page is gone")

    worker, ended = Worker(report), []
    worker.submit(job(lambda _: 1, ended))
    worker.submit(job(lambda _: 2, ended))
    assert worker.wait(10)
    assert ended == [("then", 1), ("then", 2)]


def test_of_many_asks_of_a_kind_the_newest_few_are_answered(worker):
    ended, going, go_on = [], threading.Event(), threading.Event()
    worker.submit(job(lambda _: going.set() or go_on.wait(10), ended, kind="maps"))
    assert going.wait(10)
    worker.submit(job(lambda _: "other", ended, kind="scores"))
    for number in range(100):
        worker.submit(job(lambda _, number=number: number, ended, kind="maps"))
    go_on.set()
    assert worker.wait(10)
    assert ended == [("then", end) for end in (True, "other", 96, 97, 98, 99)]


def test_a_cancelled_job_says_so_and_its_result_is_dropped(worker):
    ended = []
    worker.submit(job(until_stopped, ended))
    assert worker.cancel()
    assert worker.wait(10)
    assert ended == [("cancelled",)]


def test_jobs_that_wait_are_cancelled_with_the_one_at_hand(worker):
    ended = []
    for _ in range(3):
        worker.submit(job(until_stopped, ended))
    worker.cancel()
    assert worker.wait(10)
    assert ended == [("cancelled",)] * 3


def test_a_later_wish_ends_the_earlier_in_silence(worker):
    ended = []
    worker.submit(job(until_stopped, ended))
    worker.submit(job(lambda _: "never", ended))
    worker.supersede(job(lambda _: "latest", ended))
    assert worker.wait(10)
    assert ended == [("then", "latest")]


def test_a_job_that_is_being_stopped_says_so_until_it_is(worker, told):
    waiting = job(until_stopped, [], long=True)
    worker.submit(waiting)
    while not told:
        time.sleep(0.01)
    worker.cancel()
    assert worker.wait(10)
    assert [line.get("what") for line in told] == ["counting", "counting: stopping", None]
    assert told[1]["cancellable"] is False


def test_nothing_to_cancel_is_told(worker):
    assert not worker.cancel()


def test_progress_tells_what_is_left_and_is_taken_away_at_the_end(worker, told):
    def work(job):
        for done in range(1, 5):
            time.sleep(0.21)
            job.step(done, 8)

    worker.submit(job(work, [], long=True))
    assert worker.wait(10)
    first, *middle, last = told
    assert first == {"what": "counting", "done": 0, "total": 0, "seconds_left": None, "cancellable": True}
    assert [line["done"] for line in middle] == [1, 2, 3, 4]
    assert middle[1]["seconds_left"] == pytest.approx(0.21 * 6, rel=0.4)
    assert last == {}


def test_a_short_job_shows_no_progress(worker, told):
    worker.submit(job(lambda job: job.step(1, 2), []))
    assert worker.wait(10)
    assert told == [{}]


def test_a_lane_need_not_wait_for_another():
    ended, told = [], []
    lanes = Lanes(("slow", "quick"), told.append)
    lanes["slow"].submit(job(until_stopped, ended, long=True))
    lanes["quick"].submit(job(lambda _: "quick", ended))
    assert lanes["quick"].wait(10)
    assert ended == [("then", "quick")]
    assert lanes.cancel()
    assert lanes.wait(10)
    assert ended[-1] == ("cancelled",)
    assert told[-1] == {}


def test_cancel_stops_the_work_that_is_shown_alone():
    ended = []
    lanes = Lanes(("train", "slow"), lambda told: None)
    shown, other = job(until_stopped, ended, long=True), job(until_stopped, [], long=True)
    lanes["train"].submit(shown)
    lanes["slow"].submit(other)
    while not (shown.began and other.began):
        time.sleep(0.01)
    lanes.cancel()
    assert lanes["train"].wait(10)
    assert shown.stop.is_set()
    assert not other.stop.is_set()
    lanes.cancel()
    assert lanes.wait(10)


def test_abandoned_work_is_not_waited_for():
    stop, go_on = threading.Event(), threading.Event()
    stop.set()
    began = time.monotonic()
    assert abandonable(lambda: go_on.wait(20), stop) is None
    assert time.monotonic() - began < 2
    go_on.set()


def test_work_that_is_waited_for_returns_or_raises():
    assert abandonable(lambda: 7, threading.Event()) == 7
    with pytest.raises(ZeroDivisionError):
        abandonable(lambda: 1 / 0, threading.Event())


def test_key_errors_are_told_without_quotes():
    assert in_words(KeyError("No window is decided then.")) == "No window is decided then."
    assert in_words(ValueError()) == "ValueError"
