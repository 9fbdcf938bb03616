"""deploy/ray/serve.yaml against Ray's own schema, and the settings that it gives the server."""

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from wise_serve.ray.application import (
    BOARD,
    INGRESS,
    REASONER,
    SEGMENTER,
    app,
    build,
    read_settings,
)

FILE = Path(__file__).parents[2] / "deploy" / "ray" / "serve.yaml"


def test_the_file_is_what_ray_reads() -> None:
    schema = ServeDeploySchema(**yaml.safe_load(FILE.read_text()))
    [application] = schema.applications
    assert application.import_path == "wise_serve.ray:app"
    assert {one.name for one in application.deployments} == {INGRESS, REASONER, SEGMENTER}
    assert read_settings(application.args).reasoner == "Ricky06662/VisionReasoner-7B"


def test_the_file_sets_nothing_that_ray_does_not_know() -> None:
    written = yaml.safe_load(FILE.read_text())
    known = ServeDeploySchema(**written).model_dump(exclude_unset=True)
    assert set(written) <= set(known)
    assert set(written["http_options"]) <= set(known["http_options"])
    for one, read in zip(
        written["applications"][0]["deployments"],
        known["applications"][0]["deployments"],
        strict=True,
    ):
        assert set(one) <= set(read)
        assert set(one["ray_actor_options"]) <= set(read["ray_actor_options"])


def test_builder_reads_settings_by_name_and_as_words() -> None:
    settings = read_settings({"max_inflight_requests": "5", "segmenter": "other"})
    assert (settings.max_inflight_requests, settings.segmenter) == (5, "other")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"max_inflight_requests": 0}, "max_inflight_requests"),
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"ops_port": 9000}, "ops_port"),
    ],
)
def test_a_wrong_setting_is_named(args: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"wise-serve on Ray: .*{said}"):
        app(args)


@pytest.mark.parametrize("queued", [3, 0])
def test_the_admission_alone_refuses_requests(queued: int) -> None:
    """A request makes many calls of a model, so a limit of Ray's on calls would refuse requests
    that the admission has let in."""
    settings = read_settings({"max_inflight_requests": 7, "max_queued_requests": queued})
    ingress = build(settings)._bound_deployment
    models = [one._bound_deployment for one in ingress.init_args[2:]]
    assert [one.name for one in models] == [SEGMENTER, REASONER]
    for one in models:
        assert (one.max_ongoing_requests, one.max_queued_requests) == (7, -1)
    assert ingress.max_queued_requests == -1
    assert ingress.max_ongoing_requests > 2 * (7 + queued)


def test_one_replica_of_each_fits_on_two_cores() -> None:
    ingress = build(read_settings({}))._bound_deployment
    bound = [ingress, *(one._bound_deployment for one in ingress.init_args[1:])]
    assert [one.name for one in bound] == [INGRESS, BOARD, SEGMENTER, REASONER]
    assert sum(one.ray_actor_options["num_cpus"] for one in bound) <= 2
