"""Waiting for a condition, with a deadline: the only way in which these tests let time pass."""
import time


def eventually(condition, within=10.0, what=None):
    """The first true value of condition(); AssertionError if there is none in time."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        time.sleep(0.002)
