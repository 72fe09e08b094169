"""Where machine code is kept on disk, and under which name.

Numba's own check (the modification time of one file) does not see a change in a helper, in a
constant, or of the mode. So the folder's name is a hash of everything that decides the code: all
source of this package, the versions of the compiler and of Python, the processor, and the mode.
"""

import os
import sys
from functools import cache as once
from pathlib import Path

from onetape.compiled import mode


def root() -> Path:
    """The folder of all kernel caches: ONETAPE_CACHE, else the user's cache folder."""
    chosen = os.environ.get("ONETAPE_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "onetape"


def package_folder() -> str:
    """The cache folder for this package's own kernels in the current mode."""
    return str(root() / f"{fingerprint()}-{mode.current()}" / "kernels")


def drivers_folder() -> Path:
    """The folder of generated drivers in the current mode; one sub-folder each."""
    return root() / f"{fingerprint()}-{mode.current()}" / "drivers"


@once
def fingerprint() -> str:
    """Hash of package source, compiler, interpreter and processor; 16 hex digits."""
    import hashlib
    import platform
    from importlib.metadata import version  # a third of the time that importing onetape takes

    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(version(name).encode())
    digest.update(f"{sys.version_info[:3]} {platform.machine()} {_processor()}".encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The processor's model and feature flags, as far as the platform tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return "".join(
                line for line in lines if line.startswith(("model name", "flags", "Features"))
            )[:8192]
    except OSError:
        import platform

        return platform.processor()
