"""The age of a process counts from its start, not from the import."""

import os
import subprocess
import sys
import time


def test_age_includes_what_came_before_the_import():
    program = (
        "import time; time.sleep(0.6)\n"
        "from cmrjax.training.process_age import process_age\n"
        "print(process_age())"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    whole = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    age = float(done.stdout)
    assert age <= whole + 0.1
    if os.path.exists("/proc/self/stat"):
        assert age >= 0.5
