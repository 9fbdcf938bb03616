"""The functions of an ML backend for Label Studio, without HTTP: setup, predictions, clicks.

A missing answer is an error, never an empty prediction: Label Studio keeps a prediction, and does
not ask again about a task that has one.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final

from wise_client.client import Client
from wise_client.errors import InputError, UnexpectedAnswerError, WiseClientError
from wise_client.integrations.label_studio import regions
from wise_client.integrations.label_studio.labelling import Labelling
from wise_client.integrations.label_studio.media import ImageUnavailable, LabelStudio, Media
from wise_client.results import Segmentation

MOST_QUERIES: Final = 64  # of one request, by the server's contract
MOST_PROJECTS: Final = 10_000  # whose Label Studio is remembered
_log = logging.getLogger("wise_client.label_studio")


@dataclass(frozen=True)
class Settings:
    """How the backend asks and answers.

    `strategy`: name of the strategy; None: the server's default. `queries`: from a label to its
    query. `home`: address of Label Studio; None: the one in the call of `/setup`. `within_s`: after
    this time the finished part of a batch is sent; Label Studio waits 100 s.
    """

    queries: Mapping[str, str] = field(default_factory=dict)
    strategy: str | None = None
    home: LabelStudio | None = None
    max_instances: int | None = None
    max_side_pixels: int | None = None
    polygon_tolerance_pixels: float = 1.0
    concurrency: int = 8
    within_s: float = 90.0


class Backend:
    """Safe for use by several threads. `quick` asks for `/info` without waiting long."""

    def __init__(self, client: Client, quick: Client, media: Media, settings: Settings) -> None:
        self._client = client
        self._quick = quick
        self._media = media
        self._settings = settings
        self._homes: dict[str, LabelStudio] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.concurrency, "label-studio")

    def version(self) -> str:
        """Names the models: Label Studio asks again about tasks whose prediction has another."""
        info = self._quick.info()
        try:
            strategy = self._settings.strategy or info["strategy"]
            return " ".join(filter(None, (info["models"]["reasoner"], strategy)))
        except (KeyError, TypeError) as error:
            raise UnexpectedAnswerError(
                f"{self._quick.base_url} does not answer as wise-serve does; is the address right?"
            ) from error

    def setup(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Label Studio attaches a project. Raises InputError for a config without masks."""
        Labelling.parse(_text(body, "schema"))
        if self._settings.home is None:
            home = LabelStudio(str(body.get("hostname") or ""), str(body.get("access_token") or ""))
            with self._lock:
                self._homes[str(body.get("project"))] = home
                while len(self._homes) > MOST_PROJECTS:
                    self._homes.pop(next(iter(self._homes)))
        return {"model_version": self.version()}

    def predict(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Predictions for `tasks`, in their order; an empty list for a task that has failed.

        Raises the first failure if no task was answered.
        """
        labelling = Labelling.parse(_text(body, "label_config"))
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(one, dict) for one in tasks):
            raise InputError("tasks is not a list of tasks")
        params = body.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        home = self._home(str(body.get("project")))
        version = self.version()

        def one(task: Mapping[str, Any]) -> dict[str, Any]:
            return {**self._task(task, labelling, home, context or {}), "model_version": version}

        return {"results": self._all(one, tasks), "model_version": version}

    def close(self) -> None:
        """Drop the tasks that wait; those that run end by themselves."""
        self._pool.shutdown(cancel_futures=True)

    def _all(
        self, one: Callable[[Mapping[str, Any]], dict[str, Any]], tasks: Sequence[Any]
    ) -> list[Any]:
        if len(tasks) == 1:  # a task that someone is looking at does not wait for a batch
            return [one(tasks[0])]
        until = time.monotonic() + self._settings.within_s
        futures: list[Future[dict[str, Any]]] = [self._pool.submit(one, task) for task in tasks]
        wait(futures, timeout=until - time.monotonic())
        answers: list[Any] = []
        failures: list[WiseClientError] = []
        for task, future in zip(tasks, futures, strict=True):
            if not future.done() and (future.cancel() or not future.done()):
                failures.append(InputError("not answered in time; retrieve predictions again"))
            elif (error := future.exception()) is None:
                answers.append(future.result())
                continue
            elif isinstance(error, WiseClientError):
                failures.append(error)
            else:
                raise error
            answers.append([])
            _log.warning("task %s: no prediction: %s", task.get("id"), failures[-1])
        if failures and len(failures) == len(tasks):
            raise failures[0]
        return answers

    def _task(
        self,
        task: Mapping[str, Any],
        labelling: Labelling,
        home: LabelStudio,
        context: Mapping[str, Any],
    ) -> dict[str, Any]:
        drawn = context.get("result") or []
        if clicked := regions.clicks(drawn):
            control = labelling.control_of(clicked.label)
            image = self._image(task, labelling.image_fields[control.image], home)
            answer = self._client.refine(
                image,
                box=clicked.box,
                points=clicked.points,
                max_side_pixels=self._settings.max_side_pixels,
            )
            return self._prediction(labelling, [(clicked.label, answer)])
        queries = labelling.queries(task, [*_regions(task), *drawn], self._settings.queries)
        answers: list[tuple[str, Segmentation]] = []
        for name, image_field in labelling.image_fields.items():
            labels = [one for one in queries if labelling.control_of(one).image == name]
            if labels:
                image = self._image(task, image_field, home)
                told = self._ask(image, [queries[one] for one in labels])
                answers += zip(labels, told, strict=True)
        return self._prediction(labelling, answers)

    def _image(self, task: Mapping[str, Any], field: str, home: LabelStudio) -> bytes:
        address = (task.get("data") or {}).get(field)
        if not isinstance(address, str) or not address:
            raise ImageUnavailable(f"The task has no image in its field {field!r}")
        return self._media.fetch(address, task.get("id"), home)

    def _ask(self, image: bytes, queries: Sequence[str]) -> list[Segmentation]:
        answers: list[Segmentation] = []
        for start in range(0, len(queries), MOST_QUERIES):
            answers += self._client.segment_queries(
                image,
                queries[start : start + MOST_QUERIES],
                strategy=self._settings.strategy,
                max_instances=self._settings.max_instances,
                max_side_pixels=self._settings.max_side_pixels,
            )
        return answers

    def _prediction(
        self, labelling: Labelling, answers: Sequence[tuple[str, Segmentation]]
    ) -> dict[str, Any]:
        unread = [one.status for _, one in answers if one.status in ("unparsed", "truncated")]
        if unread and not any(one.instances for _, one in answers):
            raise UnexpectedAnswerError(
                f"The model gave no answer that could be read ({unread[0]})"
            )
        found, scores = [], []
        for label, answer in answers:
            control = labelling.control_of(label)
            for one in answer.instances:
                scores.append(one.score)
                found += regions.results(
                    control,
                    label,
                    one.mask,
                    one.score,
                    self._settings.polygon_tolerance_pixels,
                    answer.reasoning,
                )
        return {"result": found, "score": min(scores, default=0.0)}

    def _home(self, project: str) -> LabelStudio:
        with self._lock:
            return self._settings.home or self._homes.get(project) or LabelStudio("")


def _regions(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The regions of a task: of its annotations, then of its drafts, which are newer."""
    found: list[Mapping[str, Any]] = []
    for kind in ("annotations", "drafts"):
        for one in task.get(kind) or []:
            if isinstance(one, dict):
                found += one.get("result") or []
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InputError(f"{name} is missing")
    return value
