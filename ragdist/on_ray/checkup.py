"""The doctor's round: every check on every node, the table, and what to do."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist.data.store import Store, scheme
from ragdist.on_ray import cluster
from ragdist.on_ray.options import DoctorOptions
from ragdist.on_ray.probe import Probe
from ragdist.runplace import place_of

SKEW = 1.0  # seconds between two clocks that are too many
LATENCY = 5e-3  # seconds of a small all-reduce that are too many
SLOW = 0.5  # of the median node's speed
ROUNDS = 5  # questions for the time; the fastest answer counts


@dataclass
class Patient:
    """A node and what was found on it."""

    address: str
    actor: Any
    gpus: float
    found: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Note what is wrong and how to mend it."""
        self.wrong.append(what)


def run(options: DoctorOptions) -> int:
    """All checks; prints what was found. The exit code: 0, or 1 where something is to be mended.

    Raises:
        UserError: there is no cluster.
    """
    options = replace(options, data=_absolute(options.data), out=_absolute(options.out))
    cluster.connect()
    try:
        patients = _admit(options)
        for what, check in CHECKS.items():
            print(f"{what} ...", flush=True)
            check(patients, options)
        print()
        print(table(patients))
        print()
        return _findings(patients)
    finally:
        ray.shutdown()


def _absolute(where: str) -> str:
    return str(Store(where).local.absolute()) if where and not scheme(where) else where


def _admit(options: DoctorOptions) -> list[Patient]:
    """A probe on every node that can run one."""
    nodes = cluster.nodes()
    patients = []
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node.id, soft=False)
        gpus = node.total.get("GPU", 0.0)
        actor = ray.remote(Probe).options(num_cpus=0, num_gpus=min(gpus, 1), scheduling_strategy=here).remote()
        patients.append(Patient(node.address, actor, gpus))
        if not node.usable:
            patients[-1].say("its raylet cannot be reached from here: look at its firewall and its network")
    return patients


def _ask(patients: list[Patient], options: DoctorOptions, call: Callable[[Patient], Any], more: float = 0) -> list[Any]:
    """Each patient's answer, None where there was none in time."""

    def one(patient: Patient) -> Any:
        if any("no answer" in what for what in patient.wrong):
            return None
        try:
            answer = call(patient)
            return ray.get(answer, timeout=options.timeout + more) if isinstance(answer, ray.ObjectRef) else answer
        except ray.exceptions.RayError as error:
            what = str(error).strip().splitlines()
            last = what[-1][:200] if what else type(error).__name__
            patient.say(f"no answer ({last}): look at its logs in /tmp/ray/session_latest/logs")
            return None

    with ThreadPoolExecutor(max(1, len(patients))) as pool:
        return list(pool.map(one, patients))


def _about(patients: list[Patient], options: DoctorOptions) -> None:
    answers = _ask(patients, options, lambda p: p.actor.about.remote(options.cache))
    for patient, found in zip(patients, answers, strict=True):
        if not found:
            continue
        patient.found |= found
        if found["shm_gb"] is not None and found["shm_gb"] < 1:  # macOS has none
            patient.say(f"/dev/shm has {found['shm_gb']:.2f} GB: give its container more, as --shm-size 8g")
        if found["files"] < 4096:
            patient.say(f"{found['files']} open files allowed: raise it to 65,536 with ulimit -n before `ray start`")
        if found["cache_free_gb"] < 10:
            patient.say(f"{found['cache_free_gb']:.1f} GB free at {options.cache}: make room, or give --data.cache")
    for name in ("python", "torch", "ray", "ragdist", "nccl", "driver"):
        values = [patient.found[name] for patient in patients if patient.found]
        usual = statistics.mode(values) if values else ""
        for patient in patients:
            if patient.found and patient.found[name] != usual:
                patient.say(f"{name} {patient.found[name]} and elsewhere {usual}: install the same on all nodes")


def _clocks(patients: list[Patient], options: DoctorOptions) -> None:
    def question(patient: Patient) -> tuple[float, float]:
        best = None
        for _ in range(ROUNDS):
            before = time.time()
            there = ray.get(patient.actor.clock.remote(), timeout=options.timeout)
            after = time.time()
            if best is None or after - before < best[0]:
                best = (after - before, there - (before + after) / 2)
        return best

    for patient, best in zip(patients, _ask(patients, options, question), strict=True):
        if not best:
            continue
        patient.found["rtt_ms"], patient.found["skew"] = 1e3 * best[0], best[1]
        if abs(best[1]) > SKEW + best[0]:
            patient.say(f"its clock is off by {best[1]:+.1f} s: run chrony or ntpd on it")


def _storage(patients: list[Patient], options: DoctorOptions) -> None:
    if not options.out:
        return
    from ragdist.config import Config

    place = place_of(options.out.rstrip("/") + "/ragdist-doctor")
    with place.claimed(Config(out=options.out), overwrite=True) as claim:
        where = options.out.rstrip("/") + "/ragdist-doctor"
        answers = _ask(patients, options, lambda p: p.actor.see.remote(where, claim.token), more=20)
    place.delete()
    for patient, problem in zip(patients, answers, strict=True):
        if problem is None:
            continue
        patient.found["out"] = "no" if problem else "yes"
        if problem:
            patient.say(f"--out {options.out}: it {problem}: give a path that all nodes share, or a URL as s3://...")


def _reading(patients: list[Patient], options: DoctorOptions) -> None:
    if not options.data:
        return
    calls = {id(p): number for number, p in enumerate(patients)}
    answers = _ask(
        patients,
        options,
        lambda p: p.actor.read.remote(options.data, options.cache, calls[id(p)], options.seconds),
        more=options.seconds,
    )
    rates = [answer["samples"] for answer in answers if answer and not answer["problem"]]
    for patient, answer in zip(patients, answers, strict=True):
        if answer is None:
            continue
        if answer["problem"]:
            patient.say(f"--data: {answer['problem']}")
            continue
        patient.found |= {"samples": answer["samples"], "read_mb": answer["mb"]}
        if answer["bad"]:
            patient.say(f"--data: unreadable samples: `python -m ragdist.shards check {options.data}` lists them")
        if answer["samples"] < SLOW * statistics.median(rates):
            patient.say("it reads shards at under half of the usual speed: look at its disk and its load")
    if len({answer["digest"] for answer in answers if answer and not answer["problem"]}) > 1:
        patients[0].say(f"--data {options.data}: the nodes hold different data there: copy them, or give a URL")


def _network(patients: list[Patient], options: DoctorOptions) -> None:
    group = [patient for patient in patients if patient.found]
    gpu = any(patient.gpus for patient in group)
    group = [patient for patient in group if bool(patient.gpus) == gpu]
    if len(group) < 2:
        return
    (address,) = _ask(group[:1], options, lambda p: p.actor.free_address.remote())
    if address is None:
        return
    calls = {id(patient): rank for rank, patient in enumerate(group)}
    answers = _ask(
        group,
        options,
        lambda p: p.actor.all_reduce.remote(address, calls[id(p)], len(group), options.reduce_mb, gpu, options.timeout),
        more=options.timeout,
    )
    for patient, answer in zip(group, answers, strict=True):
        if answer:
            patient.found |= {"latency_ms": 1e3 * answer["latency"], "bus_mb": answer["bandwidth"] / 1e6}
            if answer["latency"] > LATENCY:
                patient.say(
                    f"a small all-reduce takes {1e3 * answer['latency']:.1f} ms: put the workers nearer to each other"
                )


CHECKS: dict[str, Callable[[list[Patient], DoctorOptions], None]] = {
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


def table(patients: list[Patient]) -> str:
    """A row a node; columns that nobody has anything in are left out."""
    names = [name for name in COLUMNS if any(patient.found.get(name, "-") != "-" for patient in patients)]
    rows = [["node", *(TITLES.get(name, name) for name in names), ""]]
    for patient in patients:
        cells = [COLUMNS[name].format(patient.found[name]) if name in patient.found else "-" for name in names]
        rows.append([patient.address, *cells, "WRONG" if patient.wrong else "ok"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _findings(patients: list[Patient]) -> int:
    for patient in patients:
        for what in patient.wrong:
            print(f"{patient.address}: {what}")
    wrong = sum(bool(patient.wrong) for patient in patients)
    print(f"{wrong} of {len(patients)} nodes need mending" if wrong else f"{len(patients)} nodes, all is well")
    return int(bool(wrong))
