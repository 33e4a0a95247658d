"""LangChain's chat models on the SDKs of OpenAI, Anthropic and Google."""

import client_anthropic
import client_gemini
import client_openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from said import TOOLS, Call, City, Said, encoded


class Langchain:
    """What all of its chat models have; `make` makes the one of a module."""

    seconds = 20

    def __init__(self, url):
        self.url = url

    def impatient(self, seconds):
        self.seconds = seconds

    def messages(self, ask):
        content = ask.text
        if ask.media:
            kind, data = encoded(ask.media)
            part = {"type": "image" if ask.media == "image" else "file", "base64": data, "mime_type": kind}
            if ask.media == "document":
                part["filename"] = "a.pdf"
            content = [{"type": "text", "text": ask.text}, part]
        messages = [SystemMessage(ask.system)] if ask.system else []
        messages.append(HumanMessage(content))
        if ask.after:
            named = {call.id: call.name for call in ask.after.calls}
            messages.append(ask.after.message)
            messages += [ToolMessage(text, tool_call_id=id, name=named[id]) for id, text in ask.results.items()]
        return messages

    def model(self, ask):
        model = self.make(ask.model)
        if not ask.tools:
            return model
        named = [{"name": t["name"], "description": t["description"], "parameters": t["schema"]} for t in TOOLS]
        return model.bind_tools([{"type": "function", "function": tool} for tool in named])

    def ask(self, ask):
        return self.said(self.model(ask).invoke(self.messages(ask)), 1)

    def stream(self, ask):
        whole, pieces = None, 0
        for chunk in self.model(ask).stream(self.messages(ask)):
            whole = chunk if whole is None else whole + chunk
            pieces += 1
        return self.said(whole, pieces)

    def first_pieces(self, ask, count):
        stream = self.model(ask).stream(self.messages(ask))
        for _ in range(count):
            next(stream)
        stream.close()

    def parse(self, model):
        return self.make(model).with_structured_output(City, method="json_schema").invoke("Where?")

    def said(self, message, pieces):
        calls = [Call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
        usage = message.usage_metadata
        tokens = usage and (usage["input_tokens"], usage["output_tokens"])
        return Said(message.text, calls, tokens, pieces, message)


class Openai(Langchain):
    is_responses = False

    def make(self, model):
        return ChatOpenAI(
            model=model,
            api_key="key",
            base_url=f"{self.url}/v1",
            max_retries=0,
            timeout=self.seconds,
            stream_usage=True,
            use_responses_api=self.is_responses,
        )

    def kind(self, error):
        return client_openai.Chat.kind(self, error)

    def embed(self, model, texts):
        embeddings = OpenAIEmbeddings(
            model=model, api_key="key", base_url=f"{self.url}/v1", max_retries=0, check_embedding_ctx_length=False
        )
        return embeddings.embed_documents(texts)


class OpenaiResponses(Openai):
    is_responses = True

    def kind(self, error):
        # The failure of a stream is an event, of which LangChain makes this error.
        is_event = type(error) is ValueError and ": " in str(error)
        return "broken" if is_event else super().kind(error)


class Anthropic(Langchain):
    def make(self, model):
        return ChatAnthropic(
            model=model, api_key="key", base_url=self.url, max_retries=0, timeout=self.seconds, max_tokens=1000
        )

    def kind(self, error):
        return client_anthropic.Messages.kind(self, error)


class Gemini(Langchain):
    def make(self, model):
        return ChatGoogleGenerativeAI(
            model=model, api_key="key", base_url=self.url, max_retries=1, timeout=self.seconds
        )

    def kind(self, error):
        """It raises an error of its own from that of the SDK."""
        return client_gemini.Gemini.kind(self, error.__cause__ or error)
