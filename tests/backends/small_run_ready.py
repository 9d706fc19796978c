"""Importing this runs a step of ``small_run``: what Python loads for it is loaded then.

Processes that are forked afterwards begin with their first step at once.
"""

import os
import tempfile
from pathlib import Path

from tests.backends import small_run
from tests.servers.ionq import IonQServer

with tempfile.TemporaryDirectory() as name, IonQServer() as server:
    folder = Path(name)
    small_run.save(folder, small_run.made(folder), 0)
    small_run.train(folder, server.url, 1)
del os.environ["PENNYLANE_IONQ_API_KEY"]
