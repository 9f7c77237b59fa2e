"""The command line for trained models, `eval`, `generate`, `export hf`: names, options, help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Seed = Annotated[int, typer.Option("--seed", min=0, help="of every random choice")]


def add_model_commands(app: typer.Typer, export_app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add the commands; `call` imports a command's function and calls it."""

    @export_app.command("hf")
    def export_hf(
        run: Annotated[str, typer.Option("--run", help="folder of a finished training run")],
        output: Annotated[str, typer.Option("--output", help="folder for config.json, safetensors and tokenizer.json")],
        dtype: Annotated[str, typer.Option("--dtype", help="float32 as trained, or bfloat16")] = "float32",
    ) -> None:
        """A run in Hugging Face's form; written only when transformers gives the run's logits."""
        report = call("export hf", run=run, output=output, dtype=dtype)
        typer.echo(
            f"wrote {output} ({report['compared_tokens']} tokens compared with transformers {report['transformers']})"
        )

    @app.command()
    def eval(
        run: Annotated[str, typer.Option("--run", help="folder of a training run")],
        shards: Annotated[str, typer.Option("--shards", help="tokens/<mix> folder with held-out documents")],
        items: Annotated[
            str | None, typer.Option("--items", help="JSON lines of evaluation items: id, question, answer")
        ] = None,
        output: Annotated[
            str | None, typer.Option("--output", help="where the result goes; default RUN/eval.json")
        ] = None,
        max_docs: Annotated[
            int | None, typer.Option("--max-docs", min=1, help="held-out documents per source; default: all")
        ] = None,
    ) -> None:
        """Bits per byte on held-out documents per source and on items, beside what zstd -19 needs."""
        call("eval", run=run, shards=shards, items=items, output=output, max_docs_per_source=max_docs)

    @app.command()
    def generate(
        run: Annotated[
            str, typer.Option("--run", help="folder of a training run, or of a model in Hugging Face's form")
        ],
        prompt: Annotated[str | None, typer.Option("--prompt", help="text to go on from; or give --prompts")] = None,
        prompts: Annotated[str | None, typer.Option("--prompts", help="JSON lines with a field prompt each")] = None,
        max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 100,
        temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token")] = 0.8,
        top_p: Annotated[float, typer.Option("--top-p", help="of the likeliest tokens that sum to this")] = 0.95,
        top_k: Annotated[int, typer.Option("--top-k", min=0, help="of so many of the likeliest tokens; 0: all")] = 0,
        batch: Annotated[int, typer.Option("--batch", min=1, help="prompts at a time; changes memory only")] = 32,
        seed: Seed = 0,
        output: Annotated[str | None, typer.Option("--output", help="file for the text; default: shown here")] = None,
    ) -> None:
        """Text from a trained model; from --prompts one JSON line each, as if it were given alone."""
        sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        text = call("generate", run=run, prompt=prompt, prompts=prompts, sampling=sampling, batch=batch, seed=seed)
        if output is None:
            typer.echo(text)
            return
        from dolma_py.storage import write_bytes

        write_bytes(output, text.encode())
        typer.echo(f"wrote {output}")
