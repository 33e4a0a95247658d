"""Writes a model of llama's architecture that has learnt nothing: `model.py FILE`.

Its weights are drawn from a fixed seed, so that each run has the same model. Its vocabulary is one token for each
printable character of ASCII, which are the only ones that it ever says, and one for each byte, by which it reads
everything else. Tokens that are not to be said have zeros for their row of the output: their logit is 0, and of
the others there is always one far above.
"""

import sys

import gguf
import numpy

SEED = 20261128

# Positions that it knows: enough for a stream that nobody waits for the end of.
CONTEXT = 65536
WIDTH = 64
INNER = 128
HEADS = 4
LAYERS = 2

# How far apart logits are: two that are nearly equal are rare, so that rounding changes no choice.
SPREAD = 4.0

UNKNOWN, BEGIN, END = 0, 1, 2

# One line for each message, as far as the model is concerned. The engine sees by it that tools are described and how
# they are called, and holds answers to that form where one has to be.
TEMPLATE = """\
{%- if tools %}tools: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}{% endif %}
{%- for message in messages %}
{{- message.role }}: {{ message.content or "" }}
{%- for call in message.tool_calls or [] %}#{{ call.function | tojson }}~{% endfor %}
{% endfor %}
{%- if add_generation_prompt %}assistant: {% endif %}"""


def vocabulary():
    """Tokens, their scores and their types, in the order of their numbers."""
    kinds = gguf.TokenType
    tokens = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    # A space is written as the tokenizer has it.
    characters = ["\u2581"] + [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens += [(character, kinds.NORMAL) for character in characters]
    return tokens


def weights(tokens):
    """Names of the architecture's tensors, each with its numbers."""
    draw = numpy.random.default_rng(SEED)

    def matrix(rows, columns, spread=1.0):
        return (draw.standard_normal((rows, columns)) * spread / numpy.sqrt(columns)).astype(numpy.float32)

    def norm():
        return numpy.ones(WIDTH, dtype=numpy.float32)

    output = matrix(len(tokens), WIDTH, SPREAD)
    said = numpy.array([kind == gguf.TokenType.NORMAL for _, kind in tokens])
    output[~said] = 0
    yield "token_embd.weight", matrix(len(tokens), WIDTH, numpy.sqrt(WIDTH))
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight", norm()
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{part}.weight", matrix(WIDTH, WIDTH)
        yield f"blk.{layer}.ffn_norm.weight", norm()
        for part in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{part}.weight", matrix(INNER, WIDTH)
        yield f"blk.{layer}.ffn_down.weight", matrix(WIDTH, INNER)
    yield "output_norm.weight", norm()
    yield "output.weight", output


def write(path):
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("learnt nothing")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_chat_template(TEMPLATE)
    for name, numbers in weights(tokens):
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])
