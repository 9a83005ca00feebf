"""The page's files over HTTP: open to all, bound to this host, complete."""

import hashlib
import http.client
import re
import zlib

import pytest

from tests.model_factory import make_model

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def apps(tmp_path_factory):
    from textseg3d import Segmenter
    from textseg3d.server.app import build_app
    from textseg3d.server.guard import LOOPBACK
    from textseg3d.server.jobs import Desk, Limits

    folder = tmp_path_factory.mktemp("page")
    desk = Desk(Segmenter(make_model(folder / "tiny")), folder, Limits())
    yield [build_app(desk, "t" * 20, LOOPBACK, page=page) for page in (True, False)]
    desk.close()


@pytest.fixture(scope="module")
def ask(apps):
    from starlette.testclient import TestClient

    clients = [TestClient(app, base_url="http://127.0.0.1:80") for app in apps]
    return lambda path, page=True, **headers: clients[0 if page else 1].get(path, headers=headers)


def test_files_are_complete_and_open(ask):
    from textseg3d.server.page import FILES, FOLDER

    served = {name for name, _ in FILES.values()}
    assert served == {p.name for p in FOLDER.iterdir() if p.suffix not in (".py", "")}
    for path in FILES:
        answer = ask(path)
        assert answer.status_code == http.client.OK
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert ask(path, page=False).status_code == 401  # `serve` has no page
        assert ask(path, host="evil.com").status_code == 403
        # Every file that a file of the page names is served too.
        if "niivue" not in path:
            named = re.findall(r'"(?:\.|/page)/([\w.]+\.(?:js|css|txt))"', answer.text)
            assert set(named) <= {known.rpartition("/")[2] for known in FILES}
            assert re.findall(r"https?://(?!www\.w3\.org)", answer.text) == []
    assert ask("/capabilities").status_code == 401
    assert ask("/page/../guard.py").status_code in (401, 404)


def test_the_viewer_is_the_one_that_the_licence_file_names():
    from textseg3d.server.page import FOLDER

    packed = (FOLDER / "niivue.umd.js.gz").read_bytes()
    digest = hashlib.sha256(zlib.decompress(packed, 31)).hexdigest()
    text = (FOLDER / "niivue.LICENSES.txt").read_text(encoding="utf-8")
    assert digest in text
    assert "BSD 2-Clause License" in text
    assert len(packed) < 1 << 20
