"""No import asks the machine: what is installed, named or set may change until it is needed, and another machine answers otherwise."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.declared.code import tree_of, walk

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("service", "tests", "benchmarks", "config", "helm")
# Functions by the last part of their name, whoever they belong to. Reading files of this repository, as tests do, is no question to the machine.
QUESTIONS = frozenset(
    "which exists is_file is_dir is_socket is_symlink is_mount lexists isfile isdir islink access getenv get_exec_path gethostname getfqdn gethostbyname "
    "getaddrinfo cpu_count process_cpu_count sched_getaffinity getloadavg sysconf uname getuid geteuid getgid getegid getgroups getlogin getuser getpwuid "
    "getpwnam getgrnam home cwd getcwd expanduser gettempdir mkdtemp mkstemp find_library find_spec create_server create_connection bind connect urlopen run "
    "Popen call check_call check_output node machine platform release virtual_memory".split()
)
# The answer holds as long as the process, or the question is meant: place and name of what is assigned, and why.
ALLOWED = {
    ("service/observe/log/log.py", "INSTANCE"): "all log lines and audit records of a process carry the name it started with",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Asking = ast.Call, ast.Subscript


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an import executes: not the bodies of functions, but their decorators and defaults."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            defaults = [*child.args.defaults, *(default for default in child.args.kw_defaults if default)]
            decorators = child.decorator_list if isinstance(child, Function) else []
            for part in (*defaults, *decorators):
                yield part
                yield from run_at_import(part)
        elif not (isinstance(child, ast.If) and "__main__" in ast.unparse(child.test)):
            yield child
            yield from run_at_import(child)


def is_environment(node: ast.AST) -> bool:
    """Say whether an expression is the process' environment."""
    return isinstance(node, ast.Attribute) and node.attr == "environ" and ast.unparse(node) == "os.environ"


def question(node: ast.AST, askers: frozenset[str] = frozenset()) -> str | None:
    """Return the expression that asks the machine, if it is one. askers: functions of the same file that do."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        reads_environment = isinstance(node.func, ast.Attribute) and is_environment(node.func.value)
        return ast.unparse(node) if name in QUESTIONS or name in askers or reads_environment else None
    return ast.unparse(node) if isinstance(node, ast.Subscript) and is_environment(node.value) else None


def asking_functions(tree: ast.Module) -> frozenset[str]:
    """Return the functions of a file that ask the machine, by themselves or through another one of these."""
    bodies = {node.name: [part for part in walk(node) if isinstance(part, Asking)] for node in tree.body if isinstance(node, Function)}
    askers: frozenset[str] = frozenset()
    while True:
        more = frozenset(name for name, body in bodies.items() if any(question(node, askers) for node in body))
        if more == askers:
            return askers
        askers = more


def questions(tree: ast.Module) -> list[tuple[str, str]]:
    """Return what an import of the file asks the machine: the names that are assigned, or the line, and the expression."""
    at_import = [(statement, node) for statement in tree.body for node in run_at_import(ast.Module([statement], [])) if isinstance(node, Asking)]
    called = {node.func.id for _, node in at_import if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    own = any(isinstance(statement, Function) and statement.name in called for statement in tree.body)
    askers = asking_functions(tree) if own else frozenset()
    return [(place(statement), asked) for statement, node in at_import if (asked := question(node, askers))]


def place(statement: ast.stmt) -> str:
    """Return the names that are assigned, or the line."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return " ".join(ast.unparse(target) for target in targets) or f"line {statement.lineno}"


def test_no_import_asks_the_machine() -> None:
    asked = {
        (str(path.relative_to(ROOT)), where): expression
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for where, expression in questions(tree_of(path))
    }

    assert {where: expression for where, expression in asked.items() if where not in ALLOWED} == {}, "ask where the answer is needed, not at import"
    assert asked.keys() >= ALLOWED.keys(), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    "line",
    [
        'DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"',
        'DOCKER: str | None = shutil.which("docker")',
        'HOME = os.environ["HOME"]',
        'IN_CI = bool(os.environ.get("CI"))',
        "def start(workers=os.cpu_count()): ...",
        '@pytest.mark.skipif(not shutil.which("npm"), reason="no npm")\ndef test_it(): ...',
        "class Pool:\n    size = os.cpu_count()",
        "def found():\n    return shutil.which('x')\ndef asked():\n    return found()\nFOUND = asked()",
        "if os.geteuid() == 0:\n    LIMIT = 1",
    ],
)
def test_a_question_at_import_is_found(line: str) -> None:
    assert questions(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "def found():\n    return shutil.which('docker')",
        "find = lambda: shutil.which('docker')",
        "def load(environ=os.environ): ...",
        'if __name__ == "__main__":\n    main(os.geteuid())',
        'RULES = sorted(Path(__file__).parent.glob("*.yaml"))',
    ],
)
def test_a_question_that_is_asked_when_it_is_needed_is_none(line: str) -> None:
    assert questions(ast.parse(line)) == []
