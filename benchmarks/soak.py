"""Half an hour of good, bad, cancelled and repeated requests, with killed segmenters.

A segmenter is killed every two minutes. Nothing may be lost: requests sent = answered + refused +
cancelled. No request may be answered twice or with the image of another one, and each mask must
be the same as when the server was idle. Reports memory, descriptors and shared memory of the
server's processes. Prints one JSON line last. The exit status is 1 if there was a problem.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from tqdm import tqdm

from processes import Process, family, shared_memory
from running import RunningServer, running_server
from soak_traffic import LONGEST_S, Sent, Traffic, draw_cases

SAMPLE_EVERY_S = 2.0
BACK_WITHIN_S = 60.0  # a killed segmenter
IDLE_WITHIN_S = 15.0
WARM_UP = 0.25  # share of the samples in which memory may still grow
MIB = 2**20
MORE_DESCRIPTORS = 4  # after the run than before: a young child's, a connection that is closing


@dataclass
class Run:
    """What a run has seen so far."""

    sent: list[Sent] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    absent: bool = False  # a segmenter was killed and is not yet back
    back_after_s: list[float] = field(default_factory=list)
    rss: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # seconds, MiB
    killed_mib: list[tuple[float, float]] = field(default_factory=list)  # segmenters at their end


async def soak(
    server: RunningServer,
    seconds: float,
    *,
    kill_every_s: float,
    in_flight: int,
    rate: float,
    seed: int,
    growth_limit_mib: float,
) -> tuple[dict[str, Any], list[str]]:
    """Run against an idle server. Returns the report and the problems."""
    run = Run()
    timeout = httpx.Timeout(LONGEST_S)
    async with httpx.AsyncClient(base_url=server.url, timeout=timeout) as client:
        traffic = Traffic(client, draw_cases(24, seed), seed)
        await traffic.learn()
    before = _holdings(server.pid)
    shared_before = shared_memory()
    async with httpx.AsyncClient(base_url=server.url, timeout=timeout) as client:
        traffic.use(client)
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(_callers(run, traffic, end, in_flight / rate))
            group.create_task(_killer(run, server.pid, client, end, kill_every_s))
            group.create_task(_sampler(run, server.pid, seconds))
    async with httpx.AsyncClient(base_url=server.url, timeout=timeout) as client:
        await _until_idle(run, client)
    await asyncio.sleep(1.0)
    after = _holdings(server.pid)
    left_behind = sorted(shared_memory() - shared_before)
    _account(run, server)
    report = _report(run, before, after, left_behind, seconds)
    _judge(run, report, before, after, growth_limit_mib)
    return report, run.violations


async def _callers(run: Run, traffic: Traffic, end: float, every_s: float) -> None:
    while time.monotonic() < end:
        begun = time.monotonic()
        absent, sent = run.absent, await traffic.send_one()
        run.sent += sent
        if any(each.unavailable for each in sent) and not (absent or run.absent):
            run.violations.append(f"{sent[0].request_id}: 503, and nothing was killed")
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - begun)))


async def _killer(
    run: Run, gateway: int, client: httpx.AsyncClient, end: float, every_s: float
) -> None:
    started = time.monotonic()
    while time.monotonic() + every_s < end:
        await asyncio.sleep(every_s)
        victim = family(gateway)["segmenter"]
        run.killed_mib.append((time.monotonic() - started, victim.rss_bytes / MIB))
        run.absent = True
        victim.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        await asyncio.sleep(0.2)
        while (await client.get("/readyz")).status_code != 200:
            if time.monotonic() - killed_at > BACK_WITHIN_S:
                run.violations.append("a killed segmenter did not come back")
                return
            await asyncio.sleep(0.1)
        run.back_after_s.append(time.monotonic() - killed_at)
        run.absent = False


async def _sampler(run: Run, gateway: int, seconds: float) -> None:
    started = time.monotonic()
    with tqdm(total=round(seconds), unit="s", disable=None) as bar:
        while (now := time.monotonic() - started) < seconds:
            for role, process in family(gateway).items():
                if role != "other" and not process.gone:
                    run.rss.setdefault(role, []).append((now, process.rss_bytes / MIB))
            bar.update(round(now) - bar.n)
            bar.set_postfix(dict(Counter(sent.end for sent in run.sent)))
            await asyncio.sleep(SAMPLE_EVERY_S)


async def _until_idle(run: Run, client: httpx.AsyncClient) -> None:
    names = ("wise_inflight_requests", "wise_queued_requests", "vllm:num_requests_running")
    limit = time.monotonic() + IDLE_WITHIN_S
    while time.monotonic() < limit:
        text = (await client.get("/metrics")).text
        busy = re.findall(rf"^(?:{'|'.join(names)})(?:{{[^}}]*}})? ([0-9.]+)$", text, re.M)
        if busy and not any(map(float, busy)):
            return
        await asyncio.sleep(0.2)
    run.violations.append("requests are left inside after all callers have gone")


def _holdings(gateway: int) -> dict[str, tuple[int, int]]:
    """Descriptors and shared images of each process."""
    found: dict[str, Process] = family(gateway)
    return {role: (each.descriptors, each.shared_images) for role, each in found.items()}


def _account(run: Run, server: RunningServer) -> None:
    """Check that the server's log has each request once, or never if its caller left too early."""
    lines = Counter(re.findall(r'"request_id":"(soak-[^"]+)"', server.log.read_text()))
    for sent in run.sent:
        count = lines[sent.request_id]
        if count != 1 and not (count == 0 and sent.end == "cancelled"):
            run.violations.append(f"{sent.request_id} is {count} times in the log")
    ids = Counter(name for sent in run.sent for name in sent.ids)
    run.violations += [f"the answer {name} came {n} times" for name, n in ids.items() if n > 1]
    run.violations += [f"{sent.request_id}: {sent.problem}" for sent in run.sent if sent.problem]


def _report(
    run: Run,
    before: dict[str, tuple[int, int]],
    after: dict[str, tuple[int, int]],
    left_behind: list[str],
    seconds: float,
) -> dict[str, Any]:
    ends = Counter(sent.end for sent in run.sent)
    growth = {role: _growth(samples) for role, samples in run.rss.items() if role != "segmenter"}
    growth["segmenter, life by life"] = _growth(run.killed_mib)
    return {
        "seconds": round(seconds),
        "sent": len(run.sent),
        **{end: ends[end] for end in ("answered", "refused", "cancelled", "lost")},
        "refused_for_a_lost_model": sum(sent.unavailable for sent in run.sent),
        "kills": len(run.killed_mib),
        "longest_absence_s": round(max(run.back_after_s, default=0.0), 2),
        "memory_growth_mib": {role: round(value, 1) for role, value in growth.items()},
        "memory_mib": {role: round(samples[-1][1]) for role, samples in run.rss.items()},
        "descriptors": {role: [before[role][0], after[role][0]] for role in after},
        "shared_images_left": sum(images for _, images in after.values()),
        "shared_memory_left": len(left_behind),
    }


def _growth(samples: list[tuple[float, float]]) -> float:
    """MiB of growth after the warm-up, by a straight line through the samples."""
    level = samples[int(len(samples) * WARM_UP) :]
    if len(level) < 3:
        return 0.0
    times, values = np.array(level).T
    slope = np.polyfit(times - times[0], values, 1)[0]
    return float(slope * (times[-1] - times[0]))


def _judge(
    run: Run,
    report: dict[str, Any],
    before: dict[str, tuple[int, int]],
    after: dict[str, tuple[int, int]],
    growth_limit_mib: float,
) -> None:
    wrong = run.violations
    if report["sent"] != report["answered"] + report["refused"] + report["cancelled"]:
        wrong.append(f"{report['lost']} requests were lost")
    for role, value in report["memory_growth_mib"].items():
        if value > growth_limit_mib:
            wrong.append(f"{role} grew by {value} MiB")
    if missing := sorted(set(before) - set(after)):
        wrong.append(f"processes are missing: {missing}")
    for role in set(after) & set(before):
        if after[role][0] > before[role][0] + MORE_DESCRIPTORS:
            wrong.append(f"{role} has {after[role][0]} descriptors, before {before[role][0]}")
    if report["shared_images_left"] or report["shared_memory_left"]:
        wrong.append("shared memory is left behind")


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument("--kill-every-s", type=float, default=120.0, help="at least 30")
    parser.add_argument("--in-flight", type=int, default=4, help="callers at once (default: 4)")
    parser.add_argument("--rate", type=float, default=100.0, help="maximum requests per second")
    parser.add_argument("--seed", type=int, default=0, help="another draw of scenes and requests")
    parser.add_argument(
        "--growth-limit-mib", type=float, default=100.0, help="for each process's memory"
    )
    args = parser.parse_args()
    with running_server() as server:
        report, violations = asyncio.run(
            soak(
                server,
                args.minutes * 60,
                kill_every_s=args.kill_every_s,
                in_flight=args.in_flight,
                rate=args.rate,
                seed=args.seed,
                growth_limit_mib=args.growth_limit_mib,
            )
        )
    for violation in violations:
        print(f"violation: {violation}")
    print(json.dumps(report | {"violations": len(violations)}))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
