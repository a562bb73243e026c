"""Install each built distribution into an empty venv and run it there; `make build` calls this.

Not a test module: it builds and downloads, and takes most of a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def run(*command: str | Path, cwd: str) -> str:
    """The standard output of a command, which must succeed within two minutes."""
    texts = [str(part) for part in command]
    done = subprocess.run(texts, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(texts)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def try_distribution(distribution: Path) -> None:
    """Install it away from the source tree; make an identity; list the plugins."""
    with tempfile.TemporaryDirectory(prefix="keynet-try-") as place:
        environment = Path(place, "venv")
        venv.create(environment, with_pip=True)
        python, keynet = environment / "bin/python", environment / "bin/keynet"
        run(python, "-m", "pip", "install", "--quiet", distribution.resolve(), cwd=place)
        state = Path(place, "state")
        made = json.loads(run(keynet, "id", "new", "--state", state, "--json", cwd=place))
        shown = json.loads(run(keynet, "id", "show", "--state", state, "--json", cwd=place))
        assert made["node_id"] == shown["node_id"]
        assert "utp" in run(keynet, "plugins", cwd=place)
        run(python, "-c", "import keynet.testing", cwd=place)
    print(f"{distribution.name}: installs and runs")


if __name__ == "__main__":
    distributions = sorted([*Path(sys.argv[1]).glob("*.whl"), *Path(sys.argv[1]).glob("*.tar.gz")])
    assert len(distributions) == 2, f"a wheel and an sdist, not {distributions}"
    for found in distributions:
        try_distribution(found)
