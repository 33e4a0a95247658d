"""What is asked of a model and what it said, in words that every SDK's module translates to and from its own."""

import base64
import struct
import zlib
from dataclasses import dataclass, field

from pydantic import BaseModel

WORDS = "The quick brown fox jumps over the lazy dog."

TOOLS = [
    {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    {
        "name": "clock",
        "description": "Tells the time in a zone.",
        "schema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    },
]


class City(BaseModel):
    """What a structured answer is about."""

    name: str
    people: int


@dataclass
class Call:
    id: str
    name: str
    arguments: dict


@dataclass
class Said:
    """An answer; `message` is what the SDK wants back to go on from it."""

    text: str
    calls: list[Call] = field(default_factory=list)
    usage: tuple[int, int] | None = None
    pieces: int = 1
    message: object = None


@dataclass
class Ask:
    """A request; `after` is the answer that called tools, and `results` what these say, by the ids of the calls."""

    model: str
    text: str = WORDS
    system: str | None = None
    tools: bool = False
    media: str | None = None
    after: Said | None = None
    results: dict[str, str] = field(default_factory=dict)


def image():
    """A PNG of one red pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def document():
    """A PDF without a page."""
    return b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


MEDIA = {"image": ("image/png", image()), "document": ("application/pdf", document())}


def encoded(media):
    """The type of a medium, and its bytes as base64."""
    kind, data = MEDIA[media]
    return kind, base64.b64encode(data).decode()
