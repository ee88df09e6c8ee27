"""The environment of a run: command, commit, machine and package versions."""

import os
import platform
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import torch

import sslzoo
from sslzoo.runtime.paths import shorten_paths


def environment() -> dict[str, Any]:
    """Collect command, commit, machine and package versions for a JSON file."""
    return {
        "command": command(),
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device_name(),
        "cores": os.cpu_count(),
        "packages": {package.name: package.version for package in sorted(distributions(), key=_name)},
    }


def command() -> list[str]:
    """Return the command line of this process; for the kernel of a notebook only its name."""
    program = Path(sys.argv[0]).name
    return [program] if program.startswith("ipykernel") else [program, *map(shorten_paths, sys.argv[1:])]


def _name(package: Distribution) -> str:
    return package.name.lower()


def device_name() -> str:
    """Return the name of the GPU, or the processor type without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"


def commit() -> str | None:
    """Return the commit of sslzoo's checkout, with `-dirty` if files differ; None outside a checkout."""
    checkout = Path(sslzoo.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
