"""The signals that end a process, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from mmconvnext.hooks import signals
from mmconvnext.hooks.signals import BeforeDeath, StopRequest

ENDING = [signal.SIGTERM, signal.SIGHUP]
# The module needs nothing of the package, whose import takes seconds.
START = f"""
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("mmconvnext.hooks.signals", {signals.__file__!r})
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
BeforeDeath = module.BeforeDeath

def restore():
    print("restored", flush=True)

"""


def run(code: str) -> tuple[int, str]:
    """Status (negative: of a signal) and output of a process that runs ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture(autouse=True)
def handlers():
    # nohup ignores SIGHUP, and whom the tests start would inherit that.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_the_process_ends_by_the_signal_after_the_call(number):
    code = f"BeforeDeath(restore).start(); os.kill(os.getpid(), {int(number)}); time.sleep(30)"
    assert run(code) == (-number, "restored\n")


def test_an_error_of_the_call_keeps_nothing_alive():
    code = "BeforeDeath(lambda: 1 / 0).start(); os.kill(os.getpid(), 15); time.sleep(30)"
    assert run(code) == (-15, "")


def test_a_second_signal_ends_a_call_that_hangs():
    hanging = "lambda: (print('hangs', flush=True), os.kill(os.getpid(), 15), time.sleep(30))"
    code = f"BeforeDeath({hanging}).start(); os.kill(os.getpid(), 15); time.sleep(30)"
    assert run(code) == (-15, "hangs\n")


def test_a_forked_process_ends_without_the_call():
    code = """
BeforeDeath(restore).start()
if (child := os.fork()) == 0:
    os.kill(os.getpid(), 15)
    time.sleep(30)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == (0, "-15\n")


def test_afterwards_signals_do_what_they_did():
    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    waiting = BeforeDeath(lambda: None)
    waiting.start()
    assert signal.getsignal(signal.SIGTERM) == waiting._handle
    waiting.stop()
    waiting.stop()
    assert [signal.getsignal(number) for number in ENDING] == [before, before]


@pytest.mark.parametrize("other", [signal.SIG_IGN, lambda number, frame: None])
def test_who_handles_it_already_keeps_it(other):
    signal.signal(signal.SIGTERM, other)
    waiting = BeforeDeath(lambda: None)
    waiting.start()
    assert signal.getsignal(signal.SIGTERM) is other
    waiting.stop()
    assert signal.getsignal(signal.SIGTERM) is other


def test_who_handles_it_later_keeps_it_too_and_may_pass_it_on():
    code = """
waiting = BeforeDeath(restore)
waiting.start()
def save(number, frame):
    print("saved", flush=True)
    signal.signal(number, earlier)
    os.kill(os.getpid(), number)
earlier = signal.signal(15, save)
os.kill(os.getpid(), 15)
time.sleep(30)
"""
    assert run(code) == (-15, "saved\nrestored\n")


def test_what_was_set_meanwhile_stays():
    waiting = BeforeDeath(lambda: None)
    waiting.start()

    def save(number, frame):
        pass

    signal.signal(signal.SIGTERM, save)
    waiting.stop()
    assert signal.getsignal(signal.SIGTERM) is save
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_outside_the_main_thread_nothing_is_changed():
    waiting = BeforeDeath(lambda: None)
    thread = threading.Thread(target=waiting.start)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_request_takes_over_and_gives_back():
    waiting, request = BeforeDeath(lambda: None), StopRequest()
    waiting.start()
    request.start()
    assert signal.getsignal(signal.SIGTERM) == request._handle
    assert signal.getsignal(signal.SIGHUP) == waiting._handle
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # of the same moment
    assert request.number == signal.SIGTERM
    request.stop()
    request.stop()
    assert signal.getsignal(signal.SIGTERM) == waiting._handle
    request.start()
    assert request.number == 0
    waiting.stop()
    request.stop()
    assert [signal.getsignal(number) for number in ENDING] == [signal.SIG_DFL] * 2


def test_outside_the_main_thread_a_request_is_not_waited_for():
    request = StopRequest()
    thread = threading.Thread(target=request.start)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("number", "asked"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_a_forked_process_ends_by_a_signal_that_its_parent_did_not_get(number, asked):
    code = f"""
StopRequest = module.StopRequest
request = StopRequest()
request.start()
if (child := os.fork()) == 0:
    for _ in range(20):
        time.sleep(0.1)
    os._exit(7)
if {asked}:
    os.kill(os.getpid(), {int(number)})
time.sleep(0.5)
os.kill(child, {int(number)})
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == (0, "7\n" if asked else f"{-int(number)}\n")
