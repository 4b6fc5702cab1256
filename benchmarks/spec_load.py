"""How long a spec of 5,000 lines takes to load, stage by stage, beside other ways to parse it.

    python benchmarks/spec_load.py [--json]

The best of five runs each, in seconds: the machine's other work only ever adds to a run.
"""

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from seakeep.spec import load
from seakeep.spec.document import Document
from seakeep.spec.files import gather
from seakeep.spec.plain import plain_of

SERVICE = """\
  s{n}:
    run: python -m shop.s{n}
    port: 8080
    resources: {{cpu: 250m, memory: 128Mi}}
    replicas: {{min: 4, max: 40}}
    spread:
      regions: {{us-east: 60%, eu-west: 40%}}
    probes:
      startup: {{http: /healthz, every: 1s, failures: 30}}
      readiness: {{http: /ready, every: 1s}}
    routes:
      - host: s{n}.example
        path: /
    timeout: 1s
    retries: {{attempts: 2, budget: 20%}}
    calls:
      s{next}: 1
"""
HEAD = """\
system: big
regions:
  us-east: {zones: [a, b, c], at: [39.0, -77.5]}
  eu-west: {zones: [a, b], at: [53.3, -6.3]}
services:
"""
SERVICES = 294
RUNS = 5


def text_of(services: int) -> str:
    """A spec in which each service calls the next; 17 lines a service."""
    bodies = [SERVICE.format(n=n, next=n + 1) for n in range(services - 1)]
    last = SERVICE.format(n=services - 1, next=0).rpartition("    calls:")[0]
    return HEAD + "".join(bodies) + last


def best_s(run: Callable[[], Any]) -> float:
    """The shortest of some runs, in seconds."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    text = text_of(SERVICES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_text(text)
        root = gather(path).root
        assert root is not None
        plain = plain_of(root)
        figures = {
            "load, in all": best_s(lambda: load(path)),
            "  text to nodes (libyaml events)": best_s(lambda: gather(path)),
            "  nodes to values": best_s(lambda: plain_of(root)),
            "  values to document (pydantic)": best_s(lambda: Document.model_validate(plain)),
            "libyaml events alone": best_s(lambda: list(YAML(typ="safe").parse(text))),
            "ruamel.yaml compose, pure": best_s(lambda: YAML(typ="rt", pure=True).compose(text)),
        }
    report = {
        "lines": text.count("\n"),
        "python": platform.python_version(),
        "ruamel.yaml": version("ruamel.yaml"),
        "pydantic": version("pydantic"),
        "seconds": {name.strip(): round(value, 4) for name, value in figures.items()},
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['lines']} lines, Python {report['python']}, best of {RUNS}")
    for name, value in figures.items():
        print(f"{name:<36} {value * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
