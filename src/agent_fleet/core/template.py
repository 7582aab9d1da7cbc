"""A prompt template, rendered in a sandbox: strict about names, bounded in loops and output.

Whatever is wrong with a template is an InvalidInput that names it, under the caller's path. The
text of others enters as values and is never itself read as a template.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from types import CodeType

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

from agent_fleet.core.errors import InvalidInput

OUTPUT_BYTES = 400_000
TEMPLATE_BYTES = 50_000
LOOP_STEPS = 10_000

# What a template's own code can raise, beside Jinja's errors; SyntaxError for too many levels.
_FAULTS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
_REFUSED = (
    nodes.Macro,
    nodes.CallBlock,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
)


def fill(source: str, values: Mapping[str, object], *, path: str) -> str:
    """The template with these variables filled in; the filter `quoted` marks text of others.

    Raises InvalidInput with `path` for a syntax error, a variable, filter or attribute that does
    not exist or is not allowed, and beyond 10,000 loop steps or 400 kB.
    """
    sandbox = _Sandbox()
    try:
        if len(source.encode(errors="replace")) > TEMPLATE_BYTES:
            raise OverflowError(f"the template is longer than {TEMPLATE_BYTES} bytes")
        code = _compiled(source, frozenset(values))
        chunks = Template.from_code(sandbox, code, {**sandbox.globals}).generate(values)
        return "".join(_limited(chunks))
    except TemplateSyntaxError as error:
        fault = f"line {error.lineno}: {error.message}"
        raise InvalidInput(path, fault, remedy="correct it") from error
    except OverflowError as error:
        raise InvalidInput(path, str(error), remedy="shorten it") from error
    except _FAULTS as error:
        raise InvalidInput(path, str(error) or type(error).__name__, remedy="correct it") from error


@lru_cache(maxsize=8)
def _compiled(source: str, names: frozenset[str]) -> CodeType:
    # Kept: it takes as long as the rest of a grant. The counting is done where the code runs.
    sandbox = _Sandbox()
    tree = sandbox.parse(source)
    sandbox.check(tree, names=names)
    return sandbox.compile(sandbox.counted(tree))


def quoted(text: str) -> str:
    """The text between two marks that do not occur in it, the same for the same text."""
    digests = (sha256(f"{n} {text}".encode(errors="replace")) for n in range(len(text) + 1))
    # One of them is free: a text has fewer pieces of this length than characters.
    mark = next(m for digest in digests if (m := digest.hexdigest()[:16]) not in text)
    whole = text.removesuffix("\n")
    return f"----- BEGIN TEXT {mark} -----\n{whole}\n----- END TEXT {mark} -----"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without what could grow without bound; made anew for each prompt, for its counts."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            finalize=self._written_out,
        )
        self.globals = {"range": safe_range}
        self.filters["quoted"] = quoted  # pyright: ignore[reportUnknownMemberType]
        self.filters["steps"] = self._steps  # pyright: ignore[reportUnknownMemberType]
        self._written = 0
        self._looped = 0

    def check(self, tree: nodes.Template, *, names: frozenset[str]) -> None:
        """Find by reading, in branches not taken too, what is unknown or could repeat uncounted."""
        for node in tree.find_all(_REFUSED):
            raise TemplateSyntaxError(f"a prompt has no {type(node).__name__}", node.lineno)
        filters: set[str] = {*self.filters}  # pyright: ignore[reportUnknownMemberType]
        for node in tree.find_all((nodes.For, nodes.Filter, nodes.Name)):
            if isinstance(node, nodes.For) and node.recursive:
                raise TemplateSyntaxError("a prompt has no recursive loop", node.lineno)
            if isinstance(node, nodes.Filter) and node.name not in filters:
                raise TemplateSyntaxError(f"unknown filter {node.name}", node.lineno)
            if isinstance(node, nodes.Name) and node.name == "self":
                raise TemplateSyntaxError("unknown variable self", node.lineno)
        unknown = meta.find_undeclared_variables(tree) - {*names, *self.globals}
        if unknown:
            known = ", ".join(sorted(names))
            raise UndefinedError(f"unknown variable {', '.join(sorted(unknown))} (known: {known})")

    def counted(self, tree: nodes.Template) -> nodes.Template:
        """The template with every step of its loops counted."""
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "steps", [], [], None, None, lineno=loop.lineno)
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "**" or not isinstance(left, int) or not isinstance(right, int):
            raise SecurityError(f"{operator} is not for {type(left).__name__} here")
        return left * right if operator == "*" else left % right

    def _written_out(self, value: object) -> str:
        """Counts what an expression writes, also inside a block whose output is still held back."""
        text = str(value)
        self._written += len(text)
        if self._written > OUTPUT_BYTES:
            raise OverflowError(f"the prompt is longer than {OUTPUT_BYTES} bytes")
        return text

    def _steps(self, items: Iterable[object]) -> Iterator[object]:
        for item in items:
            self._looped += 1
            if self._looped > LOOP_STEPS:
                raise OverflowError(f"the loops take more than {LOOP_STEPS} steps")
            yield item


def _limited(chunks: Iterable[str]) -> Iterator[str]:
    size = 0
    for chunk in chunks:
        size += len(chunk.encode(errors="replace"))
        if size > OUTPUT_BYTES:
            raise OverflowError(f"the prompt is longer than {OUTPUT_BYTES} bytes")
        yield chunk
