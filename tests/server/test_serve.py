"""The server as a real process, asked through the client and by hand."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest

from tests.io import dicom_files
from tests.model_factory import make_model
from textseg3d.cli.main import main
from textseg3d.client import Client, ServerError
from textseg3d.client.nrrd import encode
from textseg3d.errors import Cancelled, UsageError

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
ROOT = Path(__file__).resolve().parents[2]
SPACING = (4.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


class Server:
    """A process, its address and its folder for temporary files."""

    def __init__(self, model, folder, *options):
        self.temporary = folder
        command = [sys.executable, "-m", "textseg3d", "serve", "--model", str(model), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        self.log = open(folder / "log", "w+", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT, env=environment
        )
        ready = json.loads(self.process.stdout.readline())
        self.url, self.token = ready["url"], ready["token"]
        self.address = urlsplit(self.url)

    def client(self):
        return Client(self.url, self.token, timeout=300)

    def folders(self):
        return [p for p in self.temporary.iterdir() if p.name.startswith("textseg3d-serve-")]

    def ask(self, method, path, body=None, *, token=True, **headers):
        """Status and JSON of one request."""
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, 60)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            fields["Authorization"] = f"Bearer {self.token if token is True else token}"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, fields)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content) if content else None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.stop()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.process.stdout.close()
        self.log.close()
        return code


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    made = Server(model, folder, "--max-body", "1", "--max-images", "3", "--silence", "5")
    yield made
    assert made.process.poll() is None
    made.stop()
    assert made.folders() == []


def scan_array(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(20, 24, 22)).cumsum(0) * 60).clip(-1000, 1000).astype(np.int16)


@pytest.fixture
def one_thread(monkeypatch):
    """As many threads as the server has: sums over another number differ in their last bits."""
    import torch

    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_answers_are_those_of_the_command_line(server, model, tmp_path):
    array, affine = scan_array(), np.diag([3.0, 3, 4, 1])
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0)[::-1, ::-1], affine), scan)
    prompts = ["left kidney", "liver", "no spleen"]
    asked = ["predict", "--quiet", "--model", str(model), "-i", str(scan), "-p", *prompts]
    assert main([*asked, "-o", str(tmp_path / "cli")]) == 0
    stages = []
    with server.client() as client:
        client.set_image(scan)
        result = client.predict(
            prompts, format="nifti", on_progress=lambda *step: stages.append(step)
        )
        paths = result.save(tmp_path / "client")
    assert {stage for stage, _, _ in stages} >= {"read", "preprocess", "network"}
    assert stages[-1][1] == stages[-1][2]
    names = {p.name for p in paths}
    assert names == {p.name for p in (tmp_path / "cli").iterdir()}
    for name in names - {"scan.json"}:
        ours, theirs = nib.load(tmp_path / "client" / name), nib.load(tmp_path / "cli" / name)
        assert np.array_equal(ours.affine, theirs.affine)
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    record = json.loads((tmp_path / "cli" / "scan.json").read_text())
    assert result.record["prompts"] == record["prompts"]
    assert result.record["image"]["path"] is None
    assert result.record["warnings"] == record["warnings"]
    assert list(result) == prompts
    with pytest.raises(UsageError, match="no mask as array"):
        result.array("no spleen")


@pytest.mark.usefixtures("one_thread")
def test_an_array_and_a_warm_second_prompt(server, model):
    from textseg3d import Segmenter

    array = scan_array(1)
    expected = Segmenter(model).predict(array, ["heart", "liver"], spacing_mm=SPACING)
    with server.client() as client:
        client.set_image(array, spacing_mm=SPACING)
        first = client.predict("heart")
        stages = []
        second = client.predict("liver", on_progress=lambda *step: stages.append(step[0]))
    assert np.array_equal(first.array("heart"), expected["heart"].array)
    assert np.array_equal(second.array("liver"), expected["liver"].array)
    assert "read" not in stages  # the image side was kept


@pytest.mark.usefixtures("one_thread")
def test_blosc2_up_and_down(server, model):
    from textseg3d import Segmenter

    array = scan_array(5)
    expected = Segmenter(model).predict(array, ["heart", "no spleen"], spacing_mm=SPACING)
    with server.client() as client:
        client.set_image(array, spacing_mm=SPACING, blosc2=True)
        result = client.predict(["heart", "no spleen"], format="blosc2")
    assert result["heart"]["mask"].endswith(".b2nd")
    assert set(result.files) == {result["heart"]["mask"], "scan.json"}
    assert np.array_equal(result.array("heart"), expected["heart"].array)


def test_what_a_page_asks_for(server, tmp_path):
    array = scan_array(6)
    with server.client() as client:
        image = client.set_image(array, spacing_mm=SPACING)
        shown = nib.Nifti1Image.from_bytes(client._request("GET", f"/images/{image}/scan"))
        assert np.array_equal(np.asarray(shown.dataobj), array.transpose(2, 1, 0))
        assert np.allclose(shown.affine, np.diag([-3.0, -3, 4, 1]))
        result = client.predict(["no liver", "heart"], format="nifti")
        job = client._job
        assert server.ask("GET", f"/jobs/{job}/record")[1]["prompts"] == result.record["prompts"]
        mask = client._request("GET", f"/jobs/{job}/masks/1")
        assert mask == result.files[result["heart"]["mask"]]
        for number in ("0", "2", "-1", "x"):  # denied in the text, not asked, no number
            assert server.ask("GET", f"/jobs/{job}/masks/{number}")[0] in (404, 422)
    known = server.ask("GET", "/vocabulary")[1]
    entry = next(e for e in known if e["name"] == "left kidney")
    assert "kidney, left" in entry["wordings"]


def test_a_dicom_folder(server, tmp_path):
    folder = dicom_files.save(dicom_files.ct_series(), tmp_path / "series")
    with server.client() as client:
        client.set_image(folder)
        result = client.predict(["liver"], format="seg.nrrd")
    assert set(result.files) == {"scan.seg.nrrd", "scan.json"}


def test_who_may_ask(server):
    path = "/capabilities"
    assert server.ask("GET", "/healthz", token=False) == (200, {"status": "ok"})
    assert server.ask("GET", path)[0] == 200
    assert server.ask("GET", path, token=False)[0] == 401
    assert server.ask("GET", path, token="x" * 43)[0] == 401
    assert server.ask("GET", path, token="ü")[0] == 401
    assert server.ask("GET", path, Host="evil.com")[0] == 403
    assert server.ask("GET", "/healthz", token=False, Host="evil.com")[0] == 403
    assert server.ask("GET", path, Host=f"localhost:{server.address.port}")[0] == 200
    assert server.ask("GET", path, Origin="http://evil.com")[0] == 403
    assert server.ask("GET", path, Origin="null")[0] == 403
    assert server.ask("GET", path, Origin=server.url)[0] == 200
    assert server.ask("GET", "/nothing")[0] == 404
    assert server.ask("PUT", "/jobs")[0] == 405


def test_bodies_over_the_limit(server):
    large = bytes((1 << 20) + 1)
    with pytest.raises(ServerError) as refused:
        server.client().upload(large)
    assert refused.value.status == 413
    chunked = iter([large[: 1 << 19]] * 3)  # no Content-Length
    assert server.ask("POST", "/images", chunked)[0] == 413
    assert server.ask("POST", "/images", b"")[0] == 400
    assert server.ask("POST", "/jobs", bytes((1 << 20) + 1))[0] == 413
    (folder,) = server.folders()
    assert folder.stat().st_mode & 0o777 == 0o700
    deadline = time.monotonic() + 60
    while list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(folder.iterdir()) == []  # nothing of the refused ones is kept


def test_nothing_but_ids_and_words_is_taken(server):
    known = server.client().upload(b"no scan at all")
    for body in (
        b"{", b"[]", b'{"path": "/etc/passwd", "prompts": ["liver"]}',
        b'{"image": "../../etc/passwd", "prompts": ["liver"]}',
        json.dumps({"image": known, "prompts": []}).encode(),
        json.dumps({"image": known, "prompts": "liver"}).encode(),
        json.dumps({"image": known, "prompts": ["liver"] * 201}).encode(),
        json.dumps({"image": known, "prompts": ["left right kidney left"], "x": 1}).encode(),
        json.dumps({"image": known, "prompts": ["liver"], "format": "../x"}).encode(),
        json.dumps({"image": known, "prompts": [""]}).encode(),
    ):  # fmt: skip
        status, answer = server.ask("POST", "/jobs", body)
        assert status in (400, 404), body
        assert set(answer) == {"error"}
    for path in ("/jobs/x/events", "/jobs/..%2f..%2fetc/result", "/jobs/%00/events"):
        assert server.ask("GET", path)[0] == 404
    # A failed job gives a number; what happened, with the file's place, is in the log alone.
    body = json.dumps({"image": known, "prompts": ["liver"]}).encode()
    job = server.ask("POST", "/jobs", body)[1]["job"]
    last = list(server.client().events(job))[-1]
    assert set(last) == {"event", "id", "kind", "rule", "expected"}
    assert (last["event"], last["kind"], last["rule"]) == ("error", "InputError", "N5")
    assert last["expected"] == "the file holds a scan in a known format"  # of any scan
    status, answer = server.ask("GET", f"/images/{known}/scan")
    assert (status, answer["rule"]) == (422, "N5")
    assert server.ask("GET", f"/jobs/{job}/masks/0")[0] == 409
    assert server.ask("GET", f"/jobs/{job}/result") == (409, {"error": "the job is failed"})
    assert last["id"] in (server.temporary / "log").read_text()
    server.client().delete(known)


def test_images_are_limited_and_deleted(server):
    client = server.client()
    names = [client.upload(b"no scan") for _ in range(3)]
    with pytest.raises(ServerError) as refused:
        client.upload(b"no scan")
    assert refused.value.status == 429
    for name in names:
        assert server.ask("DELETE", f"/images/{name}")[0] == 204
        assert server.ask("DELETE", f"/images/{name}")[0] == 404
        client.delete(name)
    client.delete(client.upload(b"no scan"))


def test_cancel_is_idempotent_and_leaves_the_server_usable(server):
    with server.client() as client:
        client.set_image(scan_array(2), spacing_mm=SPACING)
        with pytest.raises(Cancelled):
            client.predict(["liver"], on_progress=lambda *step: False)
        job = client._job
        for _ in range(2):
            assert server.ask("POST", f"/jobs/{job}/cancel") == (200, {"status": "cancelled"})
        assert server.ask("GET", f"/jobs/{job}/result")[0] == 409
        result = client.predict(["liver"])
        done = client._job
        assert server.ask("POST", f"/jobs/{done}/cancel") == (200, {"status": "done"})
        assert result["liver"]["status"] in ("ok", "empty")


def test_a_client_that_goes_away_may_come_back(server):
    with server.client() as client:
        image = client.set_image(scan_array(3), spacing_mm=SPACING)
        body = json.dumps({"image": image, "prompts": ["liver"]}).encode()
        job = server.ask("POST", "/jobs", body)[1]["job"]
        for event in client.events(job):
            assert event["event"]
            break  # the connection is closed here
        assert list(client.events(job))[-1] == {"event": "done"}
        assert server.ask("GET", "/healthz", token=False)[0] == 200


def test_a_client_that_falls_silent(server):
    """In a body, in a head, and in the second request of a kept connection: all three at once."""
    address = (server.address.hostname, server.address.port)
    with contextlib.ExitStack() as stack:
        silent, slow, again = (
            stack.enter_context(socket.create_connection(address, timeout=120)) for _ in range(3)
        )
        head = f"POST /images HTTP/1.1\r\nHost: {server.address.netloc}\r\n"
        head += f"Authorization: Bearer {server.token}\r\nContent-Length: 1000\r\n\r\n"
        silent.sendall(head.encode() + b"some")
        slow.sendall(b"GET /capab")  # and never the rest of the head
        request = f"GET /healthz HTTP/1.1\r\nHost: {server.address.netloc}\r\n\r\n".encode()
        for _ in range(2):  # a kept connection is as good as a new one
            again.sendall(request)
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += again.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
        again.sendall(request[:20])
        assert server.ask("GET", "/capabilities")[0] == 200  # nobody else waits for them
        for waiting in (silent, slow, again):
            assert waiting.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_an_upload_that_breaks_off_leaves_nothing(server):
    address = (server.address.hostname, server.address.port)
    (folder,) = server.folders()
    before = len(list(folder.iterdir()))
    head = f"POST /images HTTP/1.1\r\nHost: {server.address.netloc}\r\n"
    head += f"Authorization: Bearer {server.token}\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(4):  # more than the images that may be kept
        with socket.create_connection(address, timeout=120) as broken:
            broken.sendall(head.encode() + b"some")
            time.sleep(0.2)
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(folder.iterdir())) == before
    server.client().delete(server.client().upload(b"there is room"))


def test_a_server_that_is_killed(model, tmp_path):
    with Server(model, tmp_path) as made:
        client = made.client()
        client.set_image(scan_array(7), spacing_mm=SPACING)
        with pytest.raises(ServerError):
            client.predict("liver", on_progress=lambda *step: made.process.kill())
        with pytest.raises(ServerError):
            client.capabilities()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_flat_over_200_jobs(server):
    def resident_mib():
        pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    client = server.client()
    seen = []
    for number in range(4):
        image = client.upload(encode(scan_array(number), SPACING))
        body = json.dumps({"image": image, "prompts": ["liver"]}).encode()
        for _ in range(50):
            status, answer = server.ask("POST", "/jobs", body)
            assert status == 201
        assert list(client.events(answer["job"]))[-1] == {"event": "done"}
        client.delete(image)
        seen.append(resident_mib())
    assert max(seen[1:]) - seen[0] < 30, seen


def test_stopping_during_a_job_leaves_nothing(model, tmp_path):
    ended = []

    def ask(client):
        try:
            client.predict("liver")
        except (ServerError, Cancelled) as error:
            ended.append(error)

    with Server(model, tmp_path, "--token", "a-token-of-my-own") as made:
        assert made.token == "a-token-of-my-own"
        client = made.client()
        client.set_image(scan_array(4).repeat(4, axis=0), spacing_mm=SPACING)
        thread = threading.Thread(target=ask, args=(client,))
        thread.start()
        time.sleep(0.5)
        assert len(made.folders()) == 1
        made.stop()
        thread.join(60)
        assert not thread.is_alive()
        assert made.folders() == []


@pytest.mark.parametrize(
    "options",
    [["--host", "0.0.0.0"], ["--token", "short"], ["--port", "99999"], ["--max-images", "0"]],
    ids=lambda options: options[0],
)
def test_refused_options(options, model, capsys):
    assert main(["serve", "--model", str(model), *options]) == 2
    assert capsys.readouterr().err.startswith("textseg3d: error: ")


def test_the_client_needs_numpy_only():
    script = (
        "import sys, textseg3d.client; "
        "heavy = {'torch', 'nibabel', 'scipy', 'pydicom', 'requests', 'SimpleITK', 'fastapi'}; "
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
