"""Drives a Python client library through plans: one process per library, one job after the other.

Usage: driver.py LIBRARY   (LIBRARY: python-v2, python-v1, fastmcp or langchain)

A line of standard input is a job: `{"plan": …, "target": …, "mode": "legacy|modern|sse", "features": […]}`. The target
is a URL, or how a server on standard input and output is started: `{"command": […], "env": {…}, "folder": "…"}`. Each
feature is answered with a line `{"feature": …, "ok": …, "detail": …}` and the job with `{"end": REASON}`, the reason
being null when every feature was tried. What the features are is in features.py, what differs between the libraries in
the modules named `client_…`.
"""

import asyncio
import importlib
import json
import logging
import sys

import ending
from features import Features

CLIENTS = {
    "python-v2": "client_mcp2",
    "python-v1": "client_mcp1",
    "fastmcp": "client_fastmcp",
    "langchain": "client_langchain",
}
FEATURE_SECONDS = 25


def say(line):
    print(json.dumps(line), flush=True)


def reason(error):
    """The first error inside of the groups that task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def attempt(features, feature):
    try:
        await asyncio.wait_for(features.show(feature), FEATURE_SECONDS)
    except TimeoutError:
        say({"feature": feature, "ok": False, "detail": f"no end in {FEATURE_SECONDS} s"})
    except Exception as error:
        say({"feature": feature, "ok": False, "detail": reason(error)})
    else:
        say({"feature": feature, "ok": True, "detail": ""})


async def work(module, job):
    features = Features(job["plan"], job["mode"])
    connection = module.connect(job["target"], job["mode"], features.host)
    async with ending.session(connection) if job["mode"] == "sse" else connection as client:
        features.client = client
        for feature in job["features"]:
            await attempt(features, feature)


def main():
    logging.disable(logging.WARNING)
    module = importlib.import_module(CLIENTS[sys.argv[1]])
    for line in sys.stdin:
        try:
            asyncio.run(work(module, json.loads(line)))
        except Exception as error:
            say({"end": reason(error)})
        else:
            say({"end": None})


if __name__ == "__main__":
    main()
