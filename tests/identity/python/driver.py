"""Drives the OAuth client of a version of the Python SDK, step by step.

Usage: driver.py v1|v2

The steps and their answers are those of the driver of the TypeScript SDK (../ts/driver.mjs). A driver has one connection:
its steps are done by the task that opened it.
"""

import asyncio
import importlib
import json
import logging
import sys

from holder import REDIRECT, Holder
from sdk import OAuthClientInformationFull, OAuthClientMetadata, OAuthClientProvider

STEP_SECONDS = 25

version = importlib.import_module(f"sdk_{sys.argv[1]}")


class Driver:
    def __init__(self):
        self.holder = None
        self.provider = None
        self.requests = None
        self.task = None

    async def connect(self, step):
        self.provider = self.authorized(step, step.get("client") or {})
        self.requests = asyncio.Queue()
        opened = asyncio.get_running_loop().create_future()
        # The SDK cancels the task that a connection was opened in when that breaks, so it has one of its own.
        self.task = asyncio.create_task(self.hold(step, opened))
        return await self.outcome(opened)

    async def hold(self, step, opened):
        async with version.connect(step["target"], step["mode"], self.provider) as client:
            opened.set_result(client.version)
            while (request := await self.requests.get()) is not None:
                work, done = request
                try:
                    done.set_result(await work(client))
                except Exception as error:
                    done.set_exception(error)

    async def within_connection(self, work):
        done = asyncio.get_running_loop().create_future()
        await self.requests.put((work, done))
        return await self.outcome(done)

    async def outcome(self, done):
        """What a future says, or what ended the connection before."""
        waiting = {done, self.task}
        await asyncio.wait(waiting, timeout=STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return done.result()
        if self.task.done():
            self.task.result()
            raise ConnectionError("the connection ended")
        raise TimeoutError(f"no end in {STEP_SECONDS} s")

    def authorized(self, step, client):
        self.holder = Holder(step.get("person"), step.get("consents", True), registration(client))
        if "secret" in client:
            return version.credentials(step["target"], self.holder, client, step.get("scope"))
        metadata = OAuthClientMetadata(
            client_name="tests of identity",
            redirect_uris=[REDIRECT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )
        return OAuthClientProvider(
            step["target"],
            metadata,
            self.holder,
            redirect_handler=self.holder.redirect,
            callback_handler=self.returned,
            client_metadata_url=client.get("url"),
        )

    async def returned(self):
        return version.returned(self.holder.returned)

    async def tools(self, step):
        return await self.within_connection(lambda client: client.tools())

    async def call(self, step):
        arguments = step.get("arguments", {})
        is_error, text = await self.within_connection(lambda client: client.call(step["name"], arguments))
        if is_error:
            raise RuntimeError(f"the tool says: {text}")
        return text

    async def forge(self, step):
        # The SDK refreshes what its own clock calls expired; for a token that is refused before, it asks the person.
        self.provider.context.current_tokens.access_token = "revoked"
        self.provider.context.token_expiry_time = 1.0

    async def unrefresh(self, step):
        self.provider.context.current_tokens.refresh_token = None

    async def tokens(self, step):
        held = self.holder.held
        return held and held.model_dump(mode="json", exclude_none=True)

    async def close(self, step):
        await self.requests.put(None)
        await asyncio.wait_for(self.task, STEP_SECONDS)


def registration(client):
    """What is known of a program that was registered before."""
    if "id" not in client:
        return None
    known = {"client_id": client["id"], "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    return OAuthClientInformationFull(**known)


def reason(error):
    """The first error inside of the groups that task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def answer(driver, step):
    try:
        return {"ok": True, "value": await getattr(driver, step["do"])(step)}
    except (Exception, asyncio.CancelledError) as error:
        return {"ok": False, "detail": reason(error)}


async def main():
    logging.disable(logging.CRITICAL)
    driver = Driver()
    while line := await asyncio.to_thread(sys.stdin.readline):
        answered = await answer(driver, json.loads(line))
        holder = driver.holder
        counted = {"visits": holder.visits if holder else 0, "grants": holder.grants if holder else 0}
        print(json.dumps({**answered, **counted}), flush=True)


asyncio.run(main())
