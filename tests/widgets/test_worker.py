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
