"""Google's SDK: `generate_content`, models."""

import httpx
from google import genai
from google.genai import errors, types
from said import MEDIA, TOOLS, Call, City, Said


class Gemini:
    def __init__(self, url):
        self.url = url
        self.impatient(20)

    def impatient(self, seconds):
        options = types.HttpOptions(
            base_url=self.url, timeout=int(seconds * 1000), retry_options=types.HttpRetryOptions(attempts=1)
        )
        self.sdk = genai.Client(api_key="key", http_options=options)

    def kind(self, error):
        """The SDK has a class for what the client did and one for what the server did, and leaves the rest to httpx."""
        if isinstance(error, errors.ClientError):
            kinds = {404: "not found", 400: "bad request", 429: "rate limit"}
            return kinds.get(error.code, "status")
        if isinstance(error, errors.ServerError):
            return "server"
        if "Timeout" in type(error).__name__:
            return "timeout"
        broken = (errors.APIError, errors.UnknownApiResponseError, httpx.HTTPError)
        return "broken" if isinstance(error, broken) or type(error).__module__.startswith("httpx") else None

    def models(self):
        return [model.name.removeprefix("models/") for model in self.sdk.models.list()]

    def body(self, ask):
        parts = [types.Part.from_text(text=ask.text)]
        if ask.media:
            kind, data = MEDIA[ask.media]
            parts.append(types.Part.from_bytes(data=data, mime_type=kind))
        contents = [types.Content(role="user", parts=parts)]
        if ask.after:
            contents.append(ask.after.message)
            named = {call.id: call.name for call in ask.after.calls}
            results = [
                types.FunctionResponse(id=id, name=named[id], response={"result": text})
                for id, text in ask.results.items()
            ]
            parts = [types.Part(function_response=result) for result in results]
            contents.append(types.Content(role="user", parts=parts))
        config = types.GenerateContentConfig(system_instruction=ask.system)
        if ask.tools:
            declared = [
                types.FunctionDeclaration(
                    name=t["name"], description=t["description"], parameters_json_schema=t["schema"]
                )
                for t in TOOLS
            ]
            config.tools = [types.Tool(function_declarations=declared)]
        return {"model": ask.model, "contents": contents, "config": config}

    def ask(self, ask):
        answer = self.sdk.models.generate_content(**self.body(ask))
        return self.said([answer])

    def stream(self, ask):
        return self.said(list(self.sdk.models.generate_content_stream(**self.body(ask))))

    def first_pieces(self, ask, count):
        stream = self.sdk.models.generate_content_stream(**self.body(ask))
        for _ in range(count):
            next(stream)
        stream.close()

    def parse(self, model):
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
        return self.sdk.models.generate_content(model=model, contents="Where?", config=config).parsed

    def malformed(self, model):
        options = types.HttpOptions(extra_body={"contents": 17})
        config = types.GenerateContentConfig(http_options=options)
        self.sdk.models.generate_content(model=model, contents="", config=config)

    def said(self, chunks):
        parts = []
        for chunk in chunks:
            content = chunk.candidates[0].content if chunk.candidates else None
            parts += (content and content.parts) or []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        called = [part.function_call for part in parts if part.function_call]
        calls = [Call(call.id or f"{at} {call.name}", call.name, call.args) for at, call in enumerate(called)]
        usage = chunks[-1].usage_metadata
        tokens = usage and (usage.prompt_token_count, usage.candidates_token_count)
        return Said(text, calls, tokens, len(chunks), types.Content(role="model", parts=parts))
