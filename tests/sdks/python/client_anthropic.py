"""Anthropic's SDK: messages, counts of tokens, models."""

import anthropic
from said import TOOLS, Call, City, Said, encoded

KINDS = [
    (anthropic.NotFoundError, "not found"),
    (anthropic.BadRequestError, "bad request"),
    (anthropic.RateLimitError, "rate limit"),
    (anthropic.InternalServerError, "server"),
    (anthropic.APITimeoutError, "timeout"),
    (anthropic.APIStatusError, "status"),
    (anthropic.APIError, "broken"),
]
TOKENS_MAX = 1000


class Messages:
    def __init__(self, url):
        self.sdk = anthropic.Anthropic(api_key="key", base_url=url, max_retries=0, timeout=20)

    def impatient(self, seconds):
        self.sdk = self.sdk.with_options(timeout=seconds)

    def kind(self, error):
        return next((name for kind, name in KINDS if isinstance(error, kind)), None)

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def count(self, model):
        asked = [{"role": "user", "content": "How long is this?"}]
        return self.sdk.messages.count_tokens(model=model, messages=asked).input_tokens

    def body(self, ask):
        content = [{"type": "text", "text": ask.text}]
        if ask.media:
            kind, data = encoded(ask.media)
            content.append({"type": ask.media, "source": {"type": "base64", "media_type": kind, "data": data}})
        messages = [{"role": "user", "content": content}]
        if ask.after:
            results = [{"type": "tool_result", "tool_use_id": i, "content": text} for i, text in ask.results.items()]
            messages += [{"role": "assistant", "content": ask.after.message}, {"role": "user", "content": results}]
        body = {"model": ask.model, "messages": messages, "max_tokens": TOKENS_MAX}
        if ask.system:
            body["system"] = ask.system
        if ask.tools:
            named = [{"name": t["name"], "description": t["description"]} for t in TOOLS]
            body["tools"] = [{**tool, "input_schema": t["schema"]} for tool, t in zip(named, TOOLS)]
        return body

    def ask(self, ask, **more):
        return self.said(self.sdk.messages.create(**self.body(ask), **more), 1)

    def stream(self, ask):
        pieces = 0
        with self.sdk.messages.stream(**self.body(ask)) as stream:
            for event in stream:
                pieces += event.type == "content_block_delta"
            return self.said(stream.get_final_message(), pieces)

    def first_pieces(self, ask, count):
        stream = self.sdk.messages.create(**self.body(ask), stream=True)
        for _ in range(count):
            next(stream)
        stream.close()

    def parse(self, model):
        asked = [{"role": "user", "content": "Where?"}]
        answer = self.sdk.messages.parse(model=model, messages=asked, max_tokens=TOKENS_MAX, output_format=City)
        return answer.parsed_output

    def malformed(self, model):
        self.sdk.messages.create(model=model, messages=17, max_tokens=TOKENS_MAX)

    def said(self, answer, pieces):
        calls = [Call(b.id, b.name, b.input) for b in answer.content if b.type == "tool_use"]
        text = "".join(b.text for b in answer.content if b.type == "text")
        tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
        again = [block.model_dump(exclude_none=True) for block in answer.content]
        return Said(text, calls, tokens, pieces, again)
