"""Slow twin of our chat templates and of what is trained in them: each conversation as pieces, written out turn by turn."""

from __future__ import annotations

INSTRUCT = "You are a helpful assistant who can call functions. In this conversation there are no functions. <functions></functions>"
THINK = "You are a helpful assistant who thinks before answering."
NO_FUNCTIONS = " In this conversation there are no functions. <functions></functions>"


def render(messages, name, eos="<|endoftext|>"):
    """[(text, whether it is trained), ...] of a conversation."""
    pieces = []
    if messages[0]["role"] != "system":
        default = INSTRUCT if name == "instruct" else THINK
        pieces.append(("<|im_start|>system\n" + default + "<|im_end|>\n", False))
    for number, message in enumerate(messages):
        is_last = number == len(messages) - 1
        body = message["content"] or ""
        if message["functions"]:
            body += " <functions>" + message["functions"] + "</functions>"
        elif name == "think" and message["role"] == "system":
            body += NO_FUNCTIONS
        if message["function_calls"]:
            body += "<function_calls>" + message["function_calls"] + "</function_calls>"
        header = "<|im_start|>" + message["role"] + "\n"
        if message["role"] == "assistant":
            pieces.append((header, False))
            pieces.append((body + (eos if is_last else "<|im_end|>"), True))
            if not is_last:
                pieces.append(("\n", False))
        else:
            pieces.append((header + body + "<|im_end|>\n", False))
    return pieces
