"""Runs the experiments of `inorder lab`, and puts what they find into the write-up: `python docs/evidence.py`.

A real Kafka and an SQS emulator are started for those that run on them. Results go to `docs/evidence/`, a folder for
each experiment and broker; in `docs/write-up.md`, what stands between `<!-- evidence: NAME PART… -->` and
`<!-- end -->` is written anew from them. With names, only those are run (`duplicates`, `duplicates-kafka`). `--check`
runs nothing, and fails where the write-up says something else than the results that are there.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from inorder.lab import report  # noqa: E402
from inorder.lab.experiments import EXPERIMENTS, NEEDS, ON, run  # noqa: E402
from inorder.lab.results import Request, Result  # noqa: E402

PAGE = ROOT / "docs" / "write-up.md"
RESULTS = ROOT / "docs" / "evidence"
SEED = 42
_BLOCK = re.compile(r"(<!-- evidence: ([a-z-]+)((?: [a-z0-9-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def runs() -> dict[str, tuple[str, str]]:
    """Every run of the evidence: its folder, its experiment and its broker."""
    return {
        name if broker == "embedded" else f"{name}-{broker}": (name, broker)
        for name in EXPERIMENTS
        for broker in ON[name]
    }


def rendered(text: str) -> str:
    """The page, with what the results say now."""

    def block(found: re.Match[str]) -> str:
        result = report.read(RESULTS / found[2])
        shown = report.markdown(result, f"evidence/{found[2]}/", found[3].split())
        return f"{found[1]}\n{shown}\n{found[4]}"

    return _BLOCK.sub(block, text)


def blocks(text: str) -> list[str]:
    """The names of the runs that the page shows."""
    return [found[2] for found in _BLOCK.finditer(text)]


def main(arguments: list[str]) -> int:
    """Run, and write; or check."""
    text = PAGE.read_text()
    if "--check" in arguments:
        stale = rendered(text) != text
        if stale:
            print("docs/write-up.md is not what the results say: run make evidence")
        return int(stale)
    asked = arguments or list(runs())
    if unknown := set(asked) - set(runs()):
        print(f"there is no run {sorted(unknown)[0]}: write some of {', '.join(runs())}")
        return 2
    logging.getLogger("inorder").setLevel(logging.CRITICAL)
    began = time.monotonic()
    failed = [name for name, result in _results(asked) if not result.holds]
    PAGE.write_text(rendered(text))
    print(f"{len(asked)} runs in {time.monotonic() - began:.0f} s; docs/write-up.md is written anew")
    for name in failed:
        print(f"{name}: a claim does not hold, see docs/evidence/{name}/report.md")
    return 6 if failed else 0


def _results(asked: list[str]) -> list[tuple[str, Result]]:
    from tests.services import ElasticMQ, KafkaCluster

    needs = {runs()[name][1] for name in asked}
    if NEEDS & set(asked):
        needs |= {"kafka", "sqs"}
    found = []
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaCluster.from_environment()).bootstrap if "kafka" in needs else None
        sqs = stack.enter_context(ElasticMQ.from_environment()).endpoint if "sqs" in needs else None
        for name in asked:
            experiment, broker = runs()[name]
            result = run(experiment, Request(seed=SEED, broker=broker, kafka=kafka, sqs=sqs))
            report.write(result, RESULTS / name)
            print(f"{name}: {'holds' if result.holds else 'DOES NOT HOLD'}, {result.elapsed_s:.1f} s", flush=True)
            found.append((name, result))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
