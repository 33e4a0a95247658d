"""Drives an SDK of models through features: one process per client, one job after the other.

Usage: driver.py CLIENT

A line of standard input is a job: `{"url": …, "behind": …, "mock": …, "features": […]}`, of which the first is the
gateway, the second the API that its models are answered by, and the third the provider. Each feature is answered with a
line `{"feature": …, "ok": …, "detail": …}`, and the job with `{"end": null}`.
"""

import importlib
import json
import logging
import sys
import warnings

from features import Features

CLIENTS = {
    "python-chat": ("client_openai", "Chat"),
    "python-responses": ("client_openai", "Responses"),
    "python-messages": ("client_anthropic", "Messages"),
    "python-gemini": ("client_gemini", "Gemini"),
    "langchain-chat": ("client_langchain", "Openai"),
    "langchain-responses": ("client_langchain", "OpenaiResponses"),
    "langchain-messages": ("client_langchain", "Anthropic"),
    "langchain-gemini": ("client_langchain", "Gemini"),
}


def say(line):
    print(json.dumps(line), flush=True)


def attempt(features, feature):
    try:
        note = features.show(feature)
    except Exception as error:
        say({"feature": feature, "ok": False, "detail": f"{type(error).__name__}: {error}"[:600]})
    else:
        say({"feature": feature, "ok": True, "detail": note or ""})


def main():
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    module, name = CLIENTS[sys.argv[1]]
    make = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        job = json.loads(line)
        features = Features(make(job["url"]), job["behind"], job["mock"])
        for feature in job["features"]:
            attempt(features, feature)
        say({"end": None})


if __name__ == "__main__":
    main()
