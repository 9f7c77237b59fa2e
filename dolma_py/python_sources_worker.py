"""The process that parses Python sources that nobody vouches for, and counts what a reader would find fault with.

Its text is given to an interpreter that knows nothing of ours (`python -I -S -c`), so it imports the standard library alone. Nothing of a
source is run. Frames on both pipes are eight bytes of length and the content: in, a source; out, one JSON object. Before the first source it gives
up the right to open files, to write to one, and to use more memory than it was told.
"""

import ast
import builtins
import json
import os
import re
import resource
import struct
import sys
import warnings

# findings as of an error count five times, as pylint weighs them
WEIGHTS = {
    "undefined_name": 5, "redefined": 5, "unused_import": 1, "wildcard_import": 1, "bare_except": 1, "mutable_default": 1, "eval_used": 1,
    "unreachable": 1, "compared_with_none": 1, "long_line": 1, "long_function": 1, "deep_nesting": 1, "bad_name": 1,
}  # fmt: skip
MAX_LINE_CHARS = 100
MAX_FUNCTION_LINES = 100
MAX_NESTING = 5
_HEAD = struct.Struct("<Q")
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_MODULE_NAMES = "__file__ __builtins__ __path__ __class__ __module__ __qualname__ __annotations__"
_KNOWN = frozenset(dir(builtins)) | frozenset(_MODULE_NAMES.split())
_SNAKE, _CAPITAL = re.compile(r"_*[^A-Z]*"), re.compile(r"_*[A-Z][^_]*")


def check_source(source: str) -> "dict[str, object]":
    """{"problem": "" or syntax, null_byte, nested, "line", "statements", "findings", "comment_frac"}."""
    if "\0" in source:
        return {"problem": "null_byte", "line": source.count("\n", 0, source.index("\0")) + 1}
    try:
        tree = ast.parse(source)
        compile(tree, "<source>", "exec", dont_inherit=True)
    except SyntaxError as error:  # and of indentation
        return {"problem": "syntax", "line": error.lineno or 0}
    except (RecursionError, MemoryError, OverflowError):
        return {"problem": "nested", "line": 0}
    except (ValueError, UnicodeError):  # a number of too many digits, half of a surrogate pair
        return {"problem": "syntax", "line": 0}
    lines = [line for line in source.splitlines() if line.strip()]
    comments = sum(line.lstrip().startswith("#") for line in lines)
    return {
        "problem": "",
        "line": 0,
        "statements": sum(isinstance(node, ast.stmt) for node in ast.walk(tree)),
        "findings": count_findings(tree, source),
        "comment_frac": comments / max(1, len(lines)),
    }


def count_findings(tree: ast.Module, source: str) -> "dict[str, int]":
    """How often each rule of WEIGHTS is broken; those that nothing breaks are left out."""
    found = dict.fromkeys(WEIGHTS, 0)
    nodes = list(ast.walk(tree))
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    imported, has_wildcard = _find_imports(nodes)
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    found["wildcard_import"] = has_wildcard
    found["unused_import"] = len(imported - loaded - texts)  # a text: of __all__, or an annotation
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if not has_wildcard and not calls & {"globals", "locals", "vars", "exec", "eval"}:
        found["undefined_name"] = len(loaded - _find_bound(nodes) - imported - _KNOWN)
    for node in nodes:
        if isinstance(node, ast.ExceptHandler):
            found["bare_except"] += node.type is None
        elif isinstance(node, ast.Call):
            found["eval_used"] += isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
        elif isinstance(node, ast.Compare):
            found["compared_with_none"] += sum(
                isinstance(operator, (ast.Eq, ast.NotEq)) and isinstance(value, ast.Constant) and value.value is None
                for operator, value in zip(node.ops, node.comparators, strict=True)
            )
        elif isinstance(node, _FUNCTIONS):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            found["mutable_default"] += any(isinstance(value, (ast.List, ast.Dict, ast.Set)) for value in defaults)
            found["long_function"] += (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
            found["bad_name"] += _SNAKE.fullmatch(node.name) is None
        elif isinstance(node, ast.ClassDef):
            found["bad_name"] += _CAPITAL.fullmatch(node.name) is None
        for body in _find_bodies(node):
            found["unreachable"] += any(
                isinstance(one, (ast.Return, ast.Raise, ast.Continue, ast.Break)) for one in body[:-1]
            )
            found["redefined"] += _count_redefined(body)
    found["long_line"] = sum(len(line) > MAX_LINE_CHARS for line in source.splitlines())
    found["deep_nesting"] = _count_deep(tree)
    return {name: number for name, number in found.items() if number}


def _find_imports(nodes: "list[ast.AST]") -> "tuple[set[str], int]":
    """(names that imports bind, imports of *), those of __future__ apart."""
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    aliases = [
        alias for node in imports for alias in node.names if getattr(node, "module", None) != "__future__"
    ]  # fmt: skip
    names = {alias.asname or alias.name.split(".")[0] for alias in aliases if alias.name != "*"}
    return names, sum(alias.name == "*" for alias in aliases)


def _find_bound(nodes: "list[ast.AST]") -> "set[str]":
    """Names that anything in the source binds, wherever it stands."""
    bound = set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            bound.update(node.names)
        elif not isinstance(node, ast.alias):  # except ... as name, captures of match, parameters of types
            bound.update(
                name for name in (getattr(node, "name", None), getattr(node, "rest", None)) if isinstance(name, str)
            )
    return bound


def _find_bodies(node: ast.AST) -> "list[list[ast.stmt]]":
    bodies = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    return [body for body in bodies if isinstance(body, list) and body]


def _count_redefined(body: "list[ast.stmt]") -> int:
    """Functions and classes of a name that one before them in the same body has; those with decorators may mean it."""
    names = [
        node.name for node in body if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not node.decorator_list
    ]  # fmt: skip
    return len(names) - len(set(names))


def _count_deep(tree: ast.Module) -> int:
    """Blocks that stand in MAX_NESTING others; elif counts as its if does."""
    deep = 0
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST):
                    continue
                is_elif = (
                    name == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If) and len(value) == 1
                )
                inner = depth + (isinstance(child, _BLOCKS) and not is_elif)
                deep += inner == MAX_NESTING + 1 and inner > depth
                waiting.append((child, inner))
    return deep


def _receive() -> "bytes | None":
    head = sys.stdin.buffer.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size = _HEAD.unpack(head)[0]
    data = sys.stdin.buffer.read(size)
    return data if len(data) == size else None


def _send(descriptor: int, values: "dict[str, object]") -> None:
    data = json.dumps(values).encode()
    rest = memoryview(_HEAD.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _set_limit(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, most))


def serve(max_memory_bytes: int, max_seconds: int) -> None:
    """Answer until standard input ends; the kernel ends what takes max_seconds of processor time for one source."""
    answers = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(silence, number)
    os.close(silence)
    warnings.simplefilter("ignore")  # an escape that will be an error one day is none today
    for kind, value in ((resource.RLIMIT_AS, max_memory_bytes), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        _set_limit(kind, value)
    _set_limit(resource.RLIMIT_NOFILE, 4)
    _send(answers, {"ready": True})
    while (data := _receive()) is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _set_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + max_seconds + 1)
        try:
            values = check_source(data.decode("utf-8", "surrogatepass"))
        except (RecursionError, MemoryError):
            values = {"problem": "nested", "line": 0}
        _send(answers, values)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
