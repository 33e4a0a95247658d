"""Drives the Python SDK's client through a plan and prints one JSON object per feature.

Usage: driver.py PLAN URL MODE FEATURE,FEATURE…   (MODE: legacy, modern or sse)

A plan says which tool, prompt or resource of the server shows which feature. Every feature is tried on its own, with
a time limit; a failure is a line with `ok: false` and the reason, and the next feature goes on.
"""

import asyncio
import json
import logging
import sys

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.sse import sse_client

FEATURE_SECONDS = 25
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"


class Failed(Exception):
    """A feature that does not work as the plan says."""


def check(condition, reason):
    if not condition:
        raise Failed(reason)


class Driver:
    def __init__(self, plan, url, mode):
        self.plan = plan
        self.mode = mode
        self.modern = mode == "modern"
        self.logs = []
        self.notes = asyncio.Queue()
        self.client = Client(
            sse_client(url) if mode == "sse" else url,
            mode="auto" if self.modern else "legacy",
            read_timeout_seconds=20,
            sampling_callback=self.sample,
            elicitation_callback=self.elicit,
            logging_callback=self.log,
            message_handler=self.note,
            log_level="debug" if self.modern else None,
        )

    # What the server asks of the client.

    async def sample(self, context, params):
        text = self.plan["sampling"]["answer"]
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", content=content, model="driver", stop_reason="endTurn")

    async def elicit(self, context, params):
        return types.ElicitResult(action="accept", content=self.plan["elicitation"]["answer"])

    async def log(self, params):
        self.logs.append(params)

    async def note(self, message):
        await self.notes.put(message)

    # Helpers.

    async def call(self, step, **options):
        return await self.client.call_tool(step["tool"], step.get("arguments"), **options)

    def says(self, result, text):
        said = [block.text for block in result.content if hasattr(block, "text")]
        check(not result.is_error, f"the tool failed: {said}")
        check(any(text in part for part in said), f"expected {text!r} in {said}")

    async def noted(self, kind, predicate=lambda note: True):
        """Waits for a notification of one kind; others pass by."""
        while True:
            note = await self.notes.get()
            if isinstance(note, kind) and predicate(note):
                return note

    async def tool_names(self):
        names, cursor = [], None
        for _ in range(100):
            page = await self.client.list_tools(cursor=cursor, cache_mode="refresh")
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return names
        raise Failed("a hundred pages and no end")

    # Features.

    async def connect(self, step):
        version = self.client.protocol_version
        check((version == "2026-07-28") == self.modern, f"negotiated {version} in mode {self.mode}")

    async def tools(self, step):
        names = await self.tool_names()
        missing = [name for name in step if name not in names]
        check(not missing, f"not listed: {missing}")

    async def do_call(self, step):
        self.says(await self.call(step), step["says"])

    async def headers(self, step):
        await self.tool_names()
        self.says(await self.call(step), step["says"])

    async def error(self, step):
        result = await self.call(step)
        check(result.is_error, "the tool did not fail")

    async def unknown(self, step):
        try:
            result = await self.call(step)
        except MCPError as error:
            check(error.error.code == types.INVALID_PARAMS, f"code {error.error.code}")
        else:
            check(result.is_error, "an unknown tool answered")

    async def structured(self, step):
        result = await self.call(step)
        content = result.structured_content or {}
        for key, value in step["content"].items():
            check(content.get(key) == value, f"{key} is {content.get(key)!r}")

    async def progress(self, step):
        seen = []

        async def report(progress, total, message):
            seen.append(progress)

        await self.call(step, progress_callback=report)
        check(len(seen) == step["count"] and seen == sorted(seen), f"progress was {seen}")

    async def logging(self, step):
        self.logs.clear()
        if not self.modern and self.client.server_capabilities.logging is not None:
            await self.client.set_logging_level("debug")
        await self.call(step)
        for _ in range(100):
            if len(self.logs) >= step["count"]:
                return
            await asyncio.sleep(0.05)
        raise Failed(f"{len(self.logs)} log messages")

    async def prompts(self, step):
        listed = await self.client.list_prompts()
        check(any(prompt.name == step["prompt"] for prompt in listed.prompts), "the prompt is not listed")
        result = await self.client.get_prompt(step["prompt"], step["arguments"])
        said = [message.content.text for message in result.messages if hasattr(message.content, "text")]
        check(any(step["says"] in part for part in said), f"the prompt says {said}")

    async def resources(self, step):
        listed = await self.client.list_resources()
        check(any(str(resource.uri) == step["uri"] for resource in listed.resources), "the resource is not listed")
        await self.read(step)

    async def templates(self, step):
        listed = await self.client.list_resource_templates()
        templates = [template.uri_template for template in listed.resource_templates]
        check(step["template"] in templates, f"templates are {templates}")
        await self.read(step)

    async def read(self, step):
        result = await self.client.read_resource(step["uri"])
        said = [content.text for content in result.contents if hasattr(content, "text")]
        check(any(step["says"] in part for part in said), f"the resource says {said}")

    async def completion(self, step):
        reference = types.PromptReference(type="ref/prompt", name=step["prompt"])
        result = await self.client.complete(reference, {"name": step["argument"], "value": step["value"]})
        check(result.completion.values == step["values"], f"values are {result.completion.values}")

    async def elicitation(self, step):
        self.says(await self.call(step), step["says"])

    async def sampling(self, step):
        self.says(await self.call(step), step["says"])

    async def updates(self, step):
        if self.modern:
            async with self.client.listen(resource_subscriptions=[step["uri"]]) as subscription:
                await self.client.call_tool(step["trigger"], {})
                async for event in subscription:
                    if getattr(event, "uri", None) == step["uri"]:
                        return
            raise Failed("the subscription ended")
        await self.client.subscribe_resource(step["uri"])
        await self.client.call_tool(step["trigger"], {})
        await self.noted(types.ResourceUpdatedNotification, lambda note: str(note.params.uri) == step["uri"])
        await self.client.unsubscribe_resource(step["uri"])

    async def changes(self, step):
        before = step["tool"] in await self.tool_names()
        if self.modern:
            async with self.client.listen(tools_list_changed=True) as subscription:
                await self.client.call_tool(step["trigger"], {})
                await anext(subscription)
        else:
            await self.client.call_tool(step["trigger"], {})
            await self.noted(types.ToolListChangedNotification)
        after = step["tool"] in await self.tool_names()
        check(before != after, "the list is the old one")

    async def cancellation(self, step):
        before = await self.cancelled(step)
        running = asyncio.Event()

        async def report(progress, total, message):
            running.set()

        task = asyncio.create_task(self.call(step, progress_callback=report))
        await running.wait()
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, MCPError):
            pass
        else:
            raise Failed("the cancelled call answered")
        for _ in range(100):
            if "counter" not in step or await self.cancelled(step) > before:
                return await self.do_call(self.plan["call"])
            await asyncio.sleep(0.05)
        raise Failed("the server was not told")

    async def cancelled(self, step):
        if "counter" not in step:
            return 0
        result = await self.client.call_tool(step["counter"], {})
        text = result.content[0].text
        return int(text) if text.isdigit() else json.loads(text)["count"]

    async def reconnection(self, step):
        self.says(await self.call(step), step["says"])

    async def run(self, features):
        async with self.client:
            for feature in features:
                method = self.do_call if feature == "call" else getattr(self, feature)
                await self.attempt(feature, method)

    async def attempt(self, feature, method):
        try:
            await asyncio.wait_for(method(self.plan.get(feature)), FEATURE_SECONDS)
        except TimeoutError:
            report(feature, False, f"no end in {FEATURE_SECONDS} s")
        except Exception as error:
            report(feature, False, f"{type(error).__name__}: {error}")
        else:
            report(feature, True, "")


def report(feature, ok, detail):
    print(json.dumps({"feature": feature, "ok": ok, "detail": detail}), flush=True)


def main():
    logging.disable(logging.WARNING)
    path, url, mode, features = sys.argv[1:5]
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    asyncio.run(Driver(plan, url, mode).run(features.split(",")))


if __name__ == "__main__":
    main()
