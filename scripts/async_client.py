"""Make src/keyturn/client/asynchronous of the synchronous client, or check that it is made of it.

    python scripts/async_client.py            # writes
    python scripts/async_client.py --check    # 1 when what is there is not what would be written

Every method stands once, in the synchronous modules. Here their syntax trees are walked: methods become coroutines,
what they call on themselves is awaited, the connection is the HTTP library's asynchronous one, waiting is asyncio's.
Module functions and constants stay where they are and are imported. Comments do not survive; docstrings do.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parent.parent / "src" / "keyturn" / "client"
TARGET: Final = CLIENT / "asynchronous"
BY_HAND: Final = frozenset({"__init__", "reach"})
"""Modules with nothing to be awaited."""
PLAIN: Final = frozenset({"proof"})
"""Methods that wait for nothing."""
NOTE: Final = "# Made by scripts/async_client.py of keyturn/client/{}.py: change that, then `make client`.\n"
RENAMED: Final = {
    "Client": "AsyncClient",
    "BaseTransport": "AsyncBaseTransport",
    "iter_bytes": "aiter_bytes",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
}
TALKS: Final = ("Calls", "RestConnection")
"""How the names of classes end that talk to a server."""
ROOT: Final = "keyturn.client"


class Asynchronous(ast.NodeTransformer):
    """Turns one class of the synchronous client into its asynchronous twin.

    Args:
        classes: Names of the classes that have a twin.
        methods: Names of the methods that become coroutines.
    """

    def __init__(self, classes: set[str], methods: set[str]) -> None:
        self._classes = classes
        self._methods = methods

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Name the twin."""
        if node.id in self._classes:
            node.id = f"Async{node.id}"
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        """Take the asynchronous form of what the library has twice."""
        self.generic_visit(node)
        node.attr = RENAMED.get(node.attr, node.attr)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Turn its methods into coroutines."""
        node.name = f"Async{node.name}"
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Make a coroutine of a method."""
        self.generic_visit(node)
        node.name = RENAMED.get(node.name, node.name)
        if node.name not in self._methods | {"__aenter__", "__aexit__"}:
            return node
        return ast.copy_location(ast.AsyncFunctionDef(**dict(ast.iter_fields(node))), node)

    def visit_With(self, node: ast.With) -> ast.AST:
        """Wait for an answer to begin."""
        self.generic_visit(node)
        if "_http" in ast.unparse(node.items[0]):
            return ast.copy_location(ast.AsyncWith(items=node.items, body=node.body), node)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        """Wait for each piece of an answer."""
        self.generic_visit(node)
        if "aiter_bytes" in ast.unparse(node.iter):
            made = ast.AsyncFor(target=node.target, iter=node.iter, body=node.body, orelse=node.orelse)
            return ast.copy_location(made, node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Await what the client does itself."""
        self.generic_visit(node)
        name = ast.unparse(node.func)
        if name == "time.sleep":
            node.func = ast.parse("asyncio.sleep", mode="eval").body
            return ast.Await(node)
        if name == "self._http.close":
            node.func = ast.parse("self._http.aclose", mode="eval").body
            return ast.Await(node)
        return ast.Await(node) if name.removeprefix("self.") in self._methods and name.startswith("self.") else node


def modules() -> dict[str, ast.Module]:
    """The synchronous modules by name."""
    found = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CLIENT.glob("*.py"))}
    return {name: tree for name, tree in found.items() if name not in BY_HAND}


def classes_of(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes with methods that talk to a server."""
    return [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and (node.name == "RestConnection" or any(ast.unparse(base).endswith(TALKS) for base in node.bases))
    ]


def methods_of(node: ast.ClassDef) -> set[str]:
    """Its methods that become coroutines."""
    return {part.name for part in node.body if isinstance(part, ast.FunctionDef)} - PLAIN - {"__init__"}


def rendered() -> dict[str, str]:
    """The asynchronous modules by file name, formatted."""
    trees = modules()
    own = {name: classes_of(tree) for name, tree in trees.items()}
    classes = {node.name for nodes in own.values() for node in nodes}
    methods = {method for nodes in own.values() for node in nodes for method in methods_of(node)}
    made = {"__init__.py": '"""The asynchronous client: the same methods, to be awaited."""\n'}
    for name, tree in trees.items():
        if own[name]:
            made[f"{name}.py"] = _module(name, tree, own[name], Asynchronous(classes, methods))
    return {name: _formatted(text) for name, text in made.items()}


def _module(name: str, tree: ast.Module, own: list[ast.ClassDef], twin: Asynchronous) -> str:
    """One module: its imports, those of its twins, what else it defines imported, and its classes."""
    local = [part for part in map(_defined, tree.body) if part and not part.startswith("__")]
    local = [part for part in local if part not in {node.name for node in own}]
    doc = (ast.get_docstring(tree) or "").replace("synchronous client", "asynchronous client", 1)
    imports, for_types = (
        "\n".join(ast.unparse(_moved(node)) for node in tree.body if isinstance(node, kinds))
        for kinds in (ast.Import | ast.ImportFrom, ast.If)
    )
    imports = imports.replace("import annotations", "import annotations\nimport asyncio", 1)
    bodies = "\n\n".join(ast.unparse(twin.visit(node)) for node in own)
    mine = f"from {ROOT}.{name} import {', '.join(local)}\n" if local else ""
    return f'{NOTE.format(name)}"""{doc}\n"""\n{imports}\n{mine}\n{for_types}\n\n{bodies}\n'


def _defined(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.AnnAssign | ast.Assign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        return ast.unparse(target)
    return ""


def _moved(node: ast.stmt) -> ast.stmt:
    """Imports of classes with a twin come from here; those of functions from where they stand."""
    if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(ROOT):
        return node
    twins = [part for part in node.names if part.name.endswith("Calls") or part.name == "RestConnection"]
    rest = [part for part in node.names if part not in twins]
    lines = []
    if twins:
        names = ", ".join(f"Async{part.name}" for part in twins)
        lines.append(f"from {(node.module or '').replace(ROOT, f'{ROOT}.asynchronous', 1)} import {names}")
    if rest:
        lines.append(f"from {node.module} import {', '.join(part.name for part in rest)}")
    return ast.Module(ast.parse("\n".join(lines)).body, [])  # type: ignore[return-value]  # Unparsed at once.


def _formatted(text: str) -> str:
    ruff = str(Path(sys.executable).with_name("ruff"))
    fix = [ruff, "check", "--quiet", "--fix", "--unsafe-fixes", "--select", "F401,I001,TC001,UP034", "--stdin-filename",
           str(TARGET / "made.py"), "-"]  # fmt: skip
    text = subprocess.run(fix, input=text, capture_output=True, text=True, check=False).stdout
    layout = [ruff, "format", "--quiet", "--stdin-filename", str(TARGET / "made.py"), "-"]
    return subprocess.run(layout, input=text, capture_output=True, text=True, check=True).stdout


def main(words: list[str]) -> int:
    """Run the command.

    Args:
        words: Its arguments.

    Returns:
        Exit status: 1 when `--check` finds a difference.
    """
    made = rendered()
    there = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.py")}
    if "--check" in words:
        differing = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        sys.stderr.write("".join(f"{TARGET.name}/{name} is not made of the synchronous client\n" for name in differing))
        return 1 if differing else 0
    TARGET.mkdir(exist_ok=True)
    for name in there.keys() - made.keys():
        (TARGET / name).unlink()
    for name, text in made.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
