"""The command line's group `trace`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Corpus = Annotated[str, typer.Option("--corpus", help="corpus folder, local, s3://, gs:// or hdfs://")]
View = Annotated[str | None, typer.Option("--view", help="view of the corpus; default: the one the mix was drawn from")]
Attributes = Annotated[
    bool, typer.Option("--attributes", help="add every step of the view and the values of its attribute sets")
]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]


def add_trace_commands(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add token and document; `call` imports a command's function and calls it."""

    @app.command("token")
    def token(
        place: Annotated[
            str, typer.Argument(metavar="SHARD:OFFSET", help="such as quickstart/part-00000.npy:1234, tokens from 0")
        ],
        corpus: Corpus,
        mix: Annotated[
            str | None, typer.Option("--mix", help="folder under tokens/; default: SHARD's, or the only one")
        ] = None,
        view: View = None,
        attributes: Attributes = False,
        json: Json = False,
    ) -> None:
        """From a token of a shard back to its document, its bytes there, and the file of origin."""
        typer.echo(
            call("trace token", place=place, corpus=corpus, mix=mix, view=view, attributes=attributes, as_json=json)
        )

    @app.command("document")
    def document(
        name: Annotated[str, typer.Argument(metavar="ID", help="id of a document, or of a cut copy: ID#fim-N")],
        corpus: Corpus,
        mix: Annotated[str | None, typer.Option("--mix", help="folder under tokens/; default: all")] = None,
        view: View = None,
        attributes: Attributes = False,
        json: Json = False,
    ) -> None:
        """Every copy of a document in the shards, or which step dropped it and by what."""
        typer.echo(
            call("trace document", name=name, corpus=corpus, mix=mix, view=view, attributes=attributes, as_json=json)
        )
