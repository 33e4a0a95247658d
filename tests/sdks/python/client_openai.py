"""OpenAI's SDK: chat completions, responses, embeddings, models."""

import json

import openai
from said import TOOLS, Call, City, Said, encoded

KINDS = [
    (openai.NotFoundError, "not found"),
    (openai.BadRequestError, "bad request"),
    (openai.RateLimitError, "rate limit"),
    (openai.InternalServerError, "server"),
    (openai.APITimeoutError, "timeout"),
    (openai.APIStatusError, "status"),
    (openai.APIError, "broken"),
]


class Told(Exception):
    """The failure of a stream, which the SDK hands over as an event."""


class Openai:
    def __init__(self, url):
        self.sdk = openai.OpenAI(api_key="key", base_url=f"{url}/v1", max_retries=0, timeout=20)

    def impatient(self, seconds):
        self.sdk = self.sdk.with_options(timeout=seconds)

    def kind(self, error):
        return next((name for kind, name in [*KINDS, (Told, "broken")] if isinstance(error, kind)), None)

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def embed(self, model, texts):
        return [item.embedding for item in self.sdk.embeddings.create(model=model, input=texts).data]


class Chat(Openai):
    """`client.chat.completions`."""

    def body(self, ask):
        content = ask.text
        if ask.media:
            kind, data = encoded(ask.media)
            url = f"data:{kind};base64,{data}"
            part = {"type": "image_url", "image_url": {"url": url}}
            if ask.media == "document":
                part = {"type": "file", "file": {"filename": "a.pdf", "file_data": url}}
            content = [{"type": "text", "text": ask.text}, part]
        messages = [{"role": "system", "content": ask.system}] if ask.system else []
        messages.append({"role": "user", "content": content})
        if ask.after:
            messages.append(ask.after.message)
            messages += [{"role": "tool", "tool_call_id": id, "content": text} for id, text in ask.results.items()]
        body = {"model": ask.model, "messages": messages}
        if ask.tools:
            functions = [{"name": t["name"], "description": t["description"], "parameters": t["schema"]} for t in TOOLS]
            body["tools"] = [{"type": "function", "function": function} for function in functions]
        return body

    def ask(self, ask, **more):
        answer = self.sdk.chat.completions.create(**self.body(ask), **more)
        return self.said(answer.choices[0].message, answer.usage, 1)

    def stream(self, ask):
        pieces, end = 0, None
        with self.sdk.chat.completions.stream(**self.body(ask), stream_options={"include_usage": True}) as stream:
            for event in stream:
                pieces += event.type in ("content.delta", "tool_calls.function.arguments.delta")
            end = stream.get_final_completion()
        return self.said(end.choices[0].message, end.usage, pieces)

    def first_pieces(self, ask, count):
        stream = self.sdk.chat.completions.create(**self.body(ask), stream=True)
        for _ in range(count):
            next(stream)
        stream.close()

    def parse(self, model):
        messages = [{"role": "user", "content": "Where?"}]
        answer = self.sdk.chat.completions.parse(model=model, messages=messages, response_format=City)
        return answer.choices[0].message.parsed

    def malformed(self, model):
        self.sdk.chat.completions.create(model=model, messages=17)

    def said(self, message, usage, pieces):
        called = message.tool_calls or []
        calls = [Call(c.id, c.function.name, json.loads(c.function.arguments)) for c in called]
        tokens = usage and (usage.prompt_tokens, usage.completion_tokens)
        again = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        for call in again.get("tool_calls") or []:
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        return Said(message.content or "", calls, tokens, pieces, again)


class Responses(Openai):
    """`client.responses`."""

    def body(self, ask):
        content = ask.text
        if ask.media:
            kind, data = encoded(ask.media)
            url = f"data:{kind};base64,{data}"
            part = {"type": "input_image", "image_url": url, "detail": "auto"}
            if ask.media == "document":
                part = {"type": "input_file", "filename": "a.pdf", "file_data": url}
            content = [{"type": "input_text", "text": ask.text}, part]
        said = [{"role": "user", "content": content}]
        if ask.after:
            said += ask.after.message
            said += [{"type": "function_call_output", "call_id": i, "output": o} for i, o in ask.results.items()]
        body = {"model": ask.model, "input": said, "store": False}
        if ask.system:
            body["instructions"] = ask.system
        if ask.tools:
            named = [{"name": t["name"], "description": t["description"], "parameters": t["schema"]} for t in TOOLS]
            body["tools"] = [{"type": "function", "strict": False, **tool} for tool in named]
        return body

    def ask(self, ask, **more):
        return self.said(self.sdk.responses.create(**self.body(ask), **more), 1)

    def stream(self, ask):
        pieces = 0
        with self.sdk.responses.stream(**self.body(ask)) as stream:
            for event in stream:
                if event.type in ("error", "response.failed"):
                    raise Told(event)
                pieces += event.type in ("response.output_text.delta", "response.function_call_arguments.delta")
            return self.said(stream.get_final_response(), pieces)

    def first_pieces(self, ask, count):
        stream = self.sdk.responses.create(**self.body(ask), stream=True)
        for _ in range(count):
            next(stream)
        stream.close()

    def parse(self, model):
        return self.sdk.responses.parse(model=model, input="Where?", text_format=City).output_parsed

    def malformed(self, model):
        self.sdk.responses.create(model=model, input=17)

    def said(self, answer, pieces):
        called = [item for item in answer.output if item.type == "function_call"]
        calls = [Call(c.call_id, c.name, json.loads(c.arguments)) for c in called]
        tokens = answer.usage and (answer.usage.input_tokens, answer.usage.output_tokens)
        again = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        return Said(answer.output_text, calls, tokens, pieces, again)
