"""A tree of nodes → plain Python values, as the models take them."""

from typing import Any

from seakeep.spec.nodes import Node, Scalar, Sequence, resolve


def plain_of(node: Node, path: tuple[str, ...] = ()) -> Any:
    """The tree with YAML 1.2's types, but for the values of `env` and `headers`, which are text as
    it is written. `path`: where the node is, of the whole."""
    if isinstance(node, Scalar):
        return node.text if _is_text(path) else resolve(node)
    if isinstance(node, Sequence):
        return [plain_of(item, (*path, "")) for item in node.items]
    return {key: plain_of(value, (*path, key)) for key, (_, value) in node.entries.items()}


def _is_text(path: tuple[str, ...]) -> bool:
    """Whether the value at this path is text whatever it looks like: `services.*.env.*` and
    `services.*.routes[].headers.*`."""
    if len(path) == 4:
        return path[0] == "services" and path[2] == "env"
    return len(path) == 6 and path[0] == "services" and path[2] == "routes" and path[4] == "headers"
