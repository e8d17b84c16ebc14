"""Who holds a lease: this process, and no other."""

from __future__ import annotations

import os

from cache.storage.process import this_process


def test_a_forked_process_is_another_holder() -> None:
    here = this_process()
    child = os.fork()
    if child == 0:
        there = this_process()
        same = there.pid != os.getpid() or there.token == here.token or there.session == here.session
        os._exit(same)
    assert os.waitpid(child, 0)[1] == 0
    assert this_process() is here and here.pid == os.getpid()
