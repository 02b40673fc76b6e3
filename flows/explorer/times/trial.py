"""A trial of a few seconds: how long each piece of a run's work takes on this machine.

Its first line of input is the order, with a few images of it; its output is one line of JSON. It is
a process of its own, since threads are counted for a whole process.
"""

import json
import os
import sys
import threading
import time

import psutil

from flows.explorer.home.run_request import Order
from flows.runs.session import connected
from stego_core.errors import StegoError
from tasks.storage.storage import Storage
from tasks.trial.measurement import Tried, measured


def main() -> None:
    """Read the order, measure, tell."""
    threading.Thread(target=_end_with_the_server, args=(os.getppid(),), daemon=True).start()
    started = time.time() - psutil.Process().create_time()  # imports are over by now
    sent = json.loads(sys.stdin.readline())
    order = Order.of(sent["order"])
    try:
        with connected(order.options.storage):
            options = order.options
            tried = Tried(options.features, options.head, options.masks, options.compute)
            storage = Storage.at(options.corpus.images or "")
            rates = measured(storage, sent["images"], tried, started)
    except StegoError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201  its output
        return
    print(json.dumps(rates.document()))  # noqa: T201


def _end_with_the_server(server: int) -> None:
    """End this process once the one that started it is no more."""
    while os.getppid() == server:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
