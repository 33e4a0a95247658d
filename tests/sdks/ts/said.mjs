// What is asked of a model, whatever the SDK: the same as ../python/said.py.

import { crc32, deflateSync } from "node:zlib";

import { z } from "zod";

export const WORDS = "The quick brown fox jumps over the lazy dog.";

const text = { type: "string" };

export const TOOLS = [
  {
    name: "weather",
    description: "Tells the weather of a city.",
    schema: { type: "object", properties: { city: text }, required: ["city"] },
  },
  {
    name: "clock",
    description: "Tells the time in a zone.",
    schema: { type: "object", properties: { zone: text }, required: ["zone"] },
  },
];

// What a structured answer is about.
export const City = z.object({ name: z.string(), people: z.number().int() });

function image() {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind, "latin1"), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
  const pixel = deflateSync(Buffer.from([0, 255, 0, 0]));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixel), chunk("IEND", Buffer.alloc(0))]);
}

const PDF = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n";

// By the medium: its type, and its bytes as base64.
export const MEDIA = {
  image: ["image/png", image().toString("base64")],
  document: ["application/pdf", Buffer.from(PDF, "latin1").toString("base64")],
};
