#!/usr/bin/env python3
"""A short storm (storm.py) on each accelerator that is here; the full one runs on demand."""

import os
import random

import tap
from fixtures import ACCELS, need
from storm import Storm

COUNT = int(os.environ.get("HALCYON_STORM_COUNT", "60"))
TIME_LIMIT = 25.0  # seconds, for machines under other load


def run(kind, accel, count, jobs):
    need(accel)
    seed = int(os.environ.get("HALCYON_STORM_SEED", random.SystemRandom().randrange(2**32)))
    storm = Storm([accel], seed)
    tap.cleanup(storm.close)
    seconds = storm.run(kind, range(count), jobs, TIME_LIMIT)
    tap.diagnose(storm.summary(kind, seconds))
    for failure in storm.failures:
        tap.diagnose(failure)
    tap.equal((len(storm.failures), storm.rekicks), (0, 0), "broken promises and re-kicks")
    tap.equal(sum(storm.counts.values()) >= 10, True, "at least ten VMs were tried")


@tap.test("every VM of a storm of quits is at rest when the reply comes", each=ACCELS, timeout=60)
def _(accel):
    run("quit", accel, COUNT, jobs=3)


@tap.test("every VM of a storm of stops stands still when the reply comes", each=ACCELS, timeout=60)
def _(accel):
    run("stop", accel, COUNT // 3, jobs=2)


if __name__ == "__main__":
    tap.main()
