"""The threading core among processes: copied alone, forked, and at the end of the interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from musicq_async import core


def run(code, *options, cwd=None, timeout=30):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, time.monotonic() - began


def test_the_file_works_when_it_is_copied_alone(tmp_path):
    shutil.copy(core.__file__, tmp_path / "message_queue.py")
    (tmp_path / "main.py").write_text(
        textwrap.dedent(
            """
            import os, sys
            sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
            from message_queue import InvalidTask, MemoryQueue
            queue = MemoryQueue()
            queue.push_task({"task_id": "a", "type": "x"}, priority=1)
            queue.push_task({"task_id": "b", "type": "x", "params": {"n": [1]}})
            queue.set_public("key", "value", ttl=60)
            queue.start_cleanup()
            try:
                queue.push_task({})
            except InvalidTask as error:
                assert isinstance(error, ValueError) and "type" in str(error)
            print(queue.pop_task(timeout=3)["task_id"], queue.pop_task()["task_id"], queue.get_public("key"))
            assert not [name for name in sys.modules if name.split(".")[0] in ("musicq_async", "anyio", "loguru")]
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "main.py")],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b a value\n", "")


def test_the_background_thread_and_waiting_threads_do_not_hold_up_the_exit():
    _, seconds = run(
        """
        import threading
        from musicq_async.core import MemoryQueue
        queue = MemoryQueue(cleanup_interval=3600)
        queue.start_cleanup()
        for _ in range(20):
            threading.Thread(target=queue.pop_task, daemon=True).start()
        """
    )
    assert seconds < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("forks", [200])
def test_a_forked_child_neither_hangs_nor_has_the_tasks_of_its_parent(forks):
    out, _ = run(
        f"""
        import os, signal, sys, threading, time, warnings
        warnings.simplefilter("ignore")
        from musicq_async.core import MemoryQueue

        queue = MemoryQueue()
        queue.set_public("kept", "value")
        stop = threading.Event()

        def churn():
            while not stop.is_set():
                queue.push_task({{"task_id": "t", "type": "x", "params": {{}}}})
                queue.pop_task(timeout=0.001)
                queue.task_done()
                queue.set_public("other", 1, ttl=0.001)
                queue.cleanup()

        threads = [threading.Thread(target=churn) for _ in range(2)]
        waiting = threading.Thread(target=lambda: MemoryQueue().pop_task(), daemon=True)
        for thread in (*threads, waiting):
            thread.start()
        for _ in range(5):
            queue.push_task({{"type": "parents"}}, priority=9)
        hangs = inherited = 0
        for _ in range({forks}):
            child = os.fork()
            if child == 0:
                signal.alarm(5)
                try:
                    clean = queue.get_queue_size() == 0 and queue.join(0) and queue.pop_task(0) is None
                    queue.push_task({{"type": "own"}})
                    clean = clean and queue.pop_task(1)["type"] == "own" and queue.get_public("kept") == "value"
                    queue.set_public("own", 1, ttl=1)
                    queue.cleanup()
                    queue.start_cleanup()
                    queue.stop_cleanup()
                    os._exit(0 if clean else 3)
                except BaseException:
                    os._exit(4)
            _, status = os.waitpid(child, 0)
            hangs += os.WIFSIGNALED(status)
            inherited += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
        stop.set()
        for thread in threads:
            thread.join()
        left = 0
        while queue.pop_task(0):
            left += 1
        print(hangs, inherited, left >= 5)
        """,
        timeout=90,
    )
    assert out == "0 0 True\n"


def test_the_core_imports_nothing_but_the_standard_library():
    source = Path(core.__file__).read_text()
    imports = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= set(sys.stdlib_module_names)
