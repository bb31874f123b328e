"""The doctor's checks on every node, the table of results, and what to do."""

import shlex
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist.config.doctor import DoctorOptions
from ragdist.launch.on_ray import cluster
from ragdist.launch.on_ray.doctor_probe import Probe
from ragdist.runs.open import run_at
from ragdist.storage.store import Store, scheme

SKEW = 1.0  # seconds between two clocks that are too many
LATENCY = 5e-3  # seconds of a small all-reduce that are too many
SLOW = 0.5  # of the median node's speed
ROUNDS = 5  # questions for the time; the fastest answer counts


@dataclass
class NodeReport:
    """The doctor's findings on one node."""

    address: str
    actor: Any
    gpus: float
    found: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Note what is wrong and how to mend it."""
        self.wrong.append(what)


def run(options: DoctorOptions) -> int:
    """Run all checks and print the results. The exit code: 0, or 1 where something is to be mended.

    Raises:
        UserError: there is no cluster.
    """
    options = replace(options, data=_absolute(options.data), out=_absolute(options.out))
    cluster.connect()
    try:
        reports = _start_probes(options)
        for what, check in CHECKS.items():
            print(f"{what} ...", flush=True)
            check(reports, options)
        print()
        print(table(reports))
        print()
        return _findings(reports)
    finally:
        ray.shutdown()


def _absolute(where: str) -> str:
    return str(Store(where).local.absolute()) if where and not scheme(where) else where


def _start_probes(options: DoctorOptions) -> list[NodeReport]:
    """Start a probe on every node."""
    nodes = cluster.nodes()
    reports = []
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node.id, soft=False)
        gpus = node.total.get("GPU", 0.0)
        actor = ray.remote(Probe).options(num_cpus=0, num_gpus=min(gpus, 1), scheduling_strategy=here).remote()
        reports.append(NodeReport(node.address, actor, gpus))
        if not node.usable:
            reports[-1].say("its raylet cannot be reached from here: look at its firewall and its network")
    return reports


def _ask(
    reports: list[NodeReport], options: DoctorOptions, call: Callable[[NodeReport], Any], more: float = 0
) -> list[Any]:
    """Ask every node's probe; None where there was no answer in time."""

    def one(report: NodeReport) -> Any:
        if any("no answer" in what for what in report.wrong):
            return None
        try:
            answer = call(report)
            return ray.get(answer, timeout=options.timeout + more) if isinstance(answer, ray.ObjectRef) else answer
        except ray.exceptions.RayError as error:
            what = str(error).strip().splitlines()
            last = what[-1][:200] if what else type(error).__name__
            report.say(f"no answer ({last}): look at its logs in /tmp/ray/session_latest/logs")
            return None

    with ThreadPoolExecutor(max(1, len(reports))) as pool:
        return list(pool.map(one, reports))


def _about(reports: list[NodeReport], options: DoctorOptions) -> None:
    answers = _ask(reports, options, lambda p: p.actor.about.remote(options.cache))
    for report, found in zip(reports, answers, strict=True):
        if not found:
            continue
        report.found |= found
        if found["shm_gb"] is not None and found["shm_gb"] < 1:  # macOS has none
            report.say(f"/dev/shm has {found['shm_gb']:.2f} GB: give its container more, as --shm-size 8g")
        if found["files"] < 4096:
            report.say(f"{found['files']} open files allowed: raise it to 65,536 with ulimit -n before `ray start`")
        if found["cache_free_gb"] < 10:
            report.say(f"{found['cache_free_gb']:.1f} GB free at {options.cache}: make room, or give --data.cache")
    for name in ("python", "torch", "ray", "ragdist", "nccl", "driver"):
        values = [report.found[name] for report in reports if report.found]
        usual = statistics.mode(values) if values else ""
        for report in reports:
            if report.found and report.found[name] != usual:
                report.say(f"{name} {report.found[name]} and elsewhere {usual}: install the same on all nodes")


def _clocks(reports: list[NodeReport], options: DoctorOptions) -> None:
    def question(report: NodeReport) -> tuple[float, float]:
        best = None
        for _ in range(ROUNDS):
            before = time.time()
            there = ray.get(report.actor.clock.remote(), timeout=options.timeout)
            after = time.time()
            if best is None or after - before < best[0]:
                best = (after - before, there - (before + after) / 2)
        return best

    for report, best in zip(reports, _ask(reports, options, question), strict=True):
        if not best:
            continue
        report.found["rtt_ms"], report.found["skew"] = 1e3 * best[0], best[1]
        if abs(best[1]) > SKEW + best[0]:
            report.say(f"its clock is off by {best[1]:+.1f} s: run chrony or ntpd on it")


def _storage(reports: list[NodeReport], options: DoctorOptions) -> None:
    if not options.out:
        return
    from ragdist.config import Config

    place = run_at(options.out.rstrip("/") + "/ragdist-doctor")
    with place.leased(Config(out=options.out), overwrite=True) as lease:
        where = options.out.rstrip("/") + "/ragdist-doctor"
        answers = _ask(reports, options, lambda p: p.actor.see.remote(where, lease.token), more=20)
    place.delete()
    for report, problem in zip(reports, answers, strict=True):
        if problem is None:
            continue
        report.found["out"] = "no" if problem else "yes"
        if problem:
            report.say(f"--out {options.out}: it {problem}: give a path that all nodes share, or a URL as s3://...")


def _reading(reports: list[NodeReport], options: DoctorOptions) -> None:
    if not options.data:
        return
    calls = {id(p): number for number, p in enumerate(reports)}
    answers = _ask(
        reports,
        options,
        lambda p: p.actor.read.remote(options.data, options.cache, calls[id(p)], options.seconds),
        more=options.seconds,
    )
    rates = [answer["samples"] for answer in answers if answer and not answer["problem"]]
    for report, answer in zip(reports, answers, strict=True):
        if answer is None:
            continue
        if answer["problem"]:
            report.say(f"--data: {answer['problem']}")
            continue
        report.found |= {"samples": answer["samples"], "read_mb": answer["mb"]}
        if answer["bad"]:
            check = shlex.join(["python", "-m", "ragdist.shards", "check", options.data])
            report.say(f"--data: unreadable samples: `{check}` lists them")
        if answer["samples"] < SLOW * statistics.median(rates):
            report.say("it reads shards at under half of the usual speed: look at its disk and its load")
    if len({answer["digest"] for answer in answers if answer and not answer["problem"]}) > 1:
        reports[0].say(f"--data {options.data}: the nodes hold different data there: copy them, or give a URL")


def _network(reports: list[NodeReport], options: DoctorOptions) -> None:
    group = [report for report in reports if report.found]
    gpu = any(report.gpus for report in group)
    group = [report for report in group if bool(report.gpus) == gpu]
    if len(group) < 2:
        return
    (address,) = _ask(group[:1], options, lambda p: p.actor.free_address.remote())
    if address is None:
        return
    calls = {id(report): rank for rank, report in enumerate(group)}
    answers = _ask(
        group,
        options,
        lambda p: p.actor.all_reduce.remote(address, calls[id(p)], len(group), options.reduce_mb, gpu, options.timeout),
        more=options.timeout,
    )
    for report, answer in zip(group, answers, strict=True):
        if answer:
            report.found |= {"latency_ms": 1e3 * answer["latency"], "bus_mb": answer["bandwidth"] / 1e6}
            if answer["latency"] > LATENCY:
                report.say(
                    f"a small all-reduce takes {1e3 * answer['latency']:.1f} ms: put the workers nearer to each other"
                )


CHECKS: dict[str, Callable[[list[NodeReport], DoctorOptions], None]] = {
    "versions and sizes": _about,
    "clocks": _clocks,
    "storage": _storage,
    "reading": _reading,
    "network": _network,
}

COLUMNS = {
    "host": "{}",
    "python": "{}",
    "torch": "{}",
    "ray": "{}",
    "ragdist": "{}",
    "nccl": "{}",
    "driver": "{}",
    "cores": "{}",
    "memory_gb": "{:.0f}",
    "skew": "{:+.3f}",
    "out": "{}",
    "samples": "{:,.0f}",
    "read_mb": "{:,.0f}",
    "latency_ms": "{:.2f}",
    "bus_mb": "{:,.0f}",
}
TITLES = {"memory_gb": "GB", "skew": "clock s", "out": "--out", "samples": "samples/s", "read_mb": "read MB/s"}
TITLES |= {"latency_ms": "all-reduce ms", "bus_mb": "bus MB/s"}


def table(reports: list[NodeReport]) -> str:
    """The table of results: a row a node, without empty columns."""
    names = [name for name in COLUMNS if any(report.found.get(name, "-") != "-" for report in reports)]
    rows = [["node", *(TITLES.get(name, name) for name in names), ""]]
    for report in reports:
        cells = [COLUMNS[name].format(report.found[name]) if name in report.found else "-" for name in names]
        rows.append([report.address, *cells, "WRONG" if report.wrong else "ok"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _findings(reports: list[NodeReport]) -> int:
    for report in reports:
        for what in report.wrong:
            print(f"{report.address}: {what}")
    wrong = sum(bool(report.wrong) for report in reports)
    print(f"{wrong} of {len(reports)} nodes need mending" if wrong else f"{len(reports)} nodes, all is well")
    return int(bool(wrong))
