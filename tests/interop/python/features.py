"""What it means that a feature works: the checks of a plan, the same for every Python client library.

A client is an object of one of the modules `client_…` with these methods; one that its library has no way to is left
out, and the test does not ask for the features that need it:

    version                          the negotiated revision
    tools()                          names of all tools
    call(name, arguments, progress)  an Answer; `progress` is called with each progress; a refusal raises Refused
    prompts()                        names of all prompts, or None where the library cannot list them
    prompt(name, arguments)          the texts of its messages
    resources(), templates()         URIs of all resources, URI templates of all templates
    read(uri)                        the texts of a resource
    complete(prompt, argument, value)  the proposed values
    log_everything()                 asks for log messages of every level
    task(name, arguments)            the Answer of a call that runs as a task
    updates(uri), changes()          context managers that watch a resource or the list of tools; they give something
                                     to await for the next notification

The client asks a Host what to answer the server, and gives it the log messages.
"""

import asyncio
import json
from dataclasses import dataclass, field

INVALID_PARAMS = -32602
LOOKS_MAX = 100
PAUSE_SECONDS = 0.05


class Failed(Exception):
    """A feature that does not work as the plan says."""


class Refused(Exception):
    """The server's protocol error."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass
class Answer:
    """What a tool said."""

    said: list
    failed: bool = False
    structured: dict = field(default_factory=dict)


class Host:
    """The side of the client that the server asks: answers as the plan says."""

    def __init__(self, plan):
        self.plan = plan
        self.logs = []

    def sample(self):
        return self.plan["sampling"]["answer"]

    def elicit(self):
        return self.plan["elicitation"]["answer"]


class Features:
    def __init__(self, plan, mode):
        self.plan = plan
        self.mode = mode
        self.modern = mode == "modern"
        self.host = Host(plan)
        self.client = None

    async def show(self, feature):
        await getattr(self, f"show_{feature}")(self.plan.get(feature))

    async def call(self, step, progress=None):
        return await self.client.call(step["tool"], step.get("arguments", {}), progress)

    async def trigger(self, step):
        answer = await self.client.call(step["trigger"], step.get("arguments", {}))
        check(not answer.failed, f"the trigger failed: {answer.said}")

    # Features.

    async def show_connect(self, step):
        version = self.client.version
        check((version == "2026-07-28") == self.modern, f"negotiated {version} in mode {self.mode}")

    async def show_tools(self, step):
        names = await self.client.tools()
        missing = [name for name in step if name not in names]
        check(not missing, f"not listed: {missing}")

    async def show_call(self, step):
        says(await self.call(step), step["says"])

    async def show_headers(self, step):
        await self.client.tools()
        says(await self.call(step), step["says"])

    async def show_error(self, step):
        answer = await self.call(step)
        check(answer.failed, "the tool did not fail")

    async def show_unknown(self, step):
        try:
            answer = await self.call(step)
        except Refused as error:
            check(error.code == INVALID_PARAMS, f"refused with {error}")
        else:
            check(answer.failed, "an unknown tool answered")

    async def show_structured(self, step):
        answer = await self.call(step)
        for key, value in step["content"].items():
            check(answer.structured.get(key) == value, f"{key} is {answer.structured.get(key)!r}")

    async def show_progress(self, step):
        seen = []
        await self.call(step, seen.append)
        check(len(seen) == step["count"] and seen == sorted(seen), f"progress was {seen}")

    async def show_logging(self, step):
        logs = self.host.logs
        logs.clear()
        await self.client.log_everything()
        await self.call(step)
        await soon(lambda: len(logs) >= step["count"], lambda: f"{len(logs)} log messages")

    async def show_prompts(self, step):
        names = await self.client.prompts()
        check(names is None or step["prompt"] in names, f"not among {names}")
        contains(await self.client.prompt(step["prompt"], step["arguments"]), step["says"])

    async def show_resources(self, step):
        uris = await self.client.resources()
        check(step["uri"] in uris, f"not among {uris}")
        contains(await self.client.read(step["uri"]), step["says"])

    async def show_templates(self, step):
        templates = await self.client.templates()
        check(step["template"] in templates, f"not among {templates}")
        contains(await self.client.read(step["uri"]), step["says"])

    async def show_completion(self, step):
        values = await self.client.complete(step["prompt"], step["argument"], step["value"])
        check(values == step["values"], f"values are {values}")

    async def show_elicitation(self, step):
        says(await self.call(step), step["says"])

    async def show_sampling(self, step):
        says(await self.call(step), step["says"])

    async def show_tasks(self, step):
        says(await self.client.task(step["tool"], step["arguments"]), step["says"])

    async def show_updates(self, step):
        async with self.client.updates(step["uri"]) as next_update:
            await self.trigger(step)
            await next_update()

    async def show_changes(self, step):
        before = step["tool"] in await self.client.tools()
        async with self.client.changes() as next_change:
            await self.trigger(step)
            await next_change()
        after = step["tool"] in await self.client.tools()
        check(before != after, "the list is the old one")

    async def show_cancellation(self, step):
        before = await self.cancelled(step)
        running = asyncio.Event()
        call = asyncio.create_task(self.call(step, lambda progress: running.set()))
        await running.wait()
        call.cancel()
        try:
            answer = await call
        except (asyncio.CancelledError, Refused):
            pass
        else:
            raise Failed(f"the cancelled call answered: {answer}")
        for _ in range(LOOKS_MAX):
            if "counter" not in step or await self.cancelled(step) > before:
                return await self.show_call(self.plan["call"])
            await asyncio.sleep(PAUSE_SECONDS)
        raise Failed("the server was not told")

    async def cancelled(self, step):
        if "counter" not in step:
            return 0
        answer = await self.client.call(step["counter"], {})
        text = answer.said[0]
        return int(text) if text.isdigit() else json.loads(text)["count"]

    async def show_reconnection(self, step):
        says(await self.call(step), step["says"])


def check(condition, reason):
    if not condition:
        raise Failed(reason)


def contains(said, text):
    check(any(text in part for part in said), f"expected {text!r} in {said}")


def says(answer, text):
    check(not answer.failed, f"the tool failed: {answer.said}")
    contains(answer.said, text)


async def soon(condition, reason):
    for _ in range(LOOKS_MAX):
        if condition():
            return
        await asyncio.sleep(PAUSE_SECONDS)
    raise Failed(reason())


class Notes:
    """The notifications that a client gave, in the order in which they came."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def next(self, kind, predicate=lambda note: True):
        """Waits for a notification of one kind; others pass by."""
        while True:
            note = await self.queue.get()
            if isinstance(note, kind) and predicate(note):
                return note


async def pages(method, key, cursor="next_cursor"):
    """Every item of a list; `method` takes the cursor."""
    items, at = [], None
    for _ in range(LOOKS_MAX):
        page = await method(at)
        items += getattr(page, key)
        at = getattr(page, cursor)
        if at is None:
            return items
    raise Failed(f"{LOOKS_MAX} pages and no end")


def texts(items):
    """The texts among content blocks or resource contents."""
    return [item.text for item in items if hasattr(item, "text")]
