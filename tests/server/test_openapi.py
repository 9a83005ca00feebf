"""schemathesis asks whatever the server's own description allows, and more: never a 500."""

import contextlib
import random

import pytest

from tests.model_factory import make_model
from textseg3d.client.nrrd import encode

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
TOKEN = "a-token-for-tests-0123"
EXAMPLES = 6  # of each operation, and as many that break its description


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    import numpy as np
    from starlette.testclient import TestClient

    from textseg3d import Segmenter
    from textseg3d.server.app import build_app
    from textseg3d.server.guard import LOOPBACK
    from textseg3d.server.jobs import Desk, Limits

    folder = tmp_path_factory.mktemp("openapi")
    desk = Desk(Segmenter(make_model(folder / "tiny")), folder, Limits(body_bytes=1 << 20))
    app = build_app(desk, TOKEN, (*LOOPBACK, "testserver"))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as made:
        made.headers["Authorization"] = f"Bearer {TOKEN}"
        image = desk.new_image()
        image.scan.write_bytes(encode(np.zeros((9, 9, 9), np.int16), (3.0, 3.0, 3.0)))
        job = desk.new_job(image, ("liver",), "nifti")
        list(made.get(f"/jobs/{job.id}/events").iter_lines())
        made.guarded = app
        made.known = {"images": image.id, "jobs": job.id}
        yield made
    desk.close()


def test_no_request_is_an_internal_error(client):
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable

    token = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.guarded, headers=token)
    counts = {}
    quick = settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    dice = random.Random(0)

    def try_one(case):
        kind = case.path.split("/")[1]
        if "name" in (case.path_parameters or {}) and dice.random() < 0.6:
            case.path_parameters["name"] = client.known[kind]
        if case.method == "DELETE" and dice.random() < 0.9:
            case.path_parameters["name"] = "0" * 32  # the known image is still needed
        if isinstance(case.body, dict) and "image" in case.body and dice.random() < 0.6:
            case.body["image"] = client.known["images"]
        answer = case.call(headers=token, timeout=300)  # however busy the machine is
        status = answer.status_code
        counts[status] = counts.get(status, 0) + 1
        assert status < 500, (case.method, case.path, answer.content)
        assert b"Traceback" not in answer.content

    paths = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        paths.add(f"{operation.method.upper()} {operation.path}")
        quick(given(case=operation.as_strategy())(try_one))()
        if operation.method.upper() != "POST" and "number" not in operation.path:
            continue
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        with contextlib.suppress(Unsatisfiable):  # a request without any part has none
            quick(given(case=wrong)(try_one))()
    assert {"POST /images", "POST /jobs", "GET /jobs/{name}/masks/{number}"} <= paths
    assert sum(counts.values()) > 40
    assert {200, 404} <= set(counts), counts
