"""Fail when a file or function of the product has grown too long to be read in one sitting.

python scripts/check_sizes.py [folder ...]        src and examples by default
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70


def findings(path: Path) -> Iterator[str]:
    """`path:line: what is too long` for one file."""
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{path}:1: file of {lines} lines, more than {FILE_LINES_MAX}"
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield (
                    f"{path}:{node.lineno}: function {node.name} of {lines} lines, "
                    f"more than {FUNCTION_LINES_MAX}"
                )


def main(arguments: list[str]) -> int:
    folders = [Path(name) for name in arguments] or [ROOT / "src", ROOT / "examples"]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    found = [line for path in paths for line in findings(path)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
