"""Images and a workspace in a bucket, as the home page asks for them: a real S3 server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from home_client import Home, Script

from flows.explorer.state import Explorer
from tasks.storage import run_cache, s3_client
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

BUNDLED = {"backbone": "vit_pico_patch8_conv_64", "weights": "bundled"}


@pytest.fixture
def photos(s3_environment: str, tmp_path: Path, make_corpus: Callable[..., Path]) -> str:
    """Eight images in a bucket, and something that is none."""
    place = Storage.at(f"{s3_environment}/photos")
    for path in sorted((make_corpus(tmp_path / "corpus", 8) / "images").iterdir()):
        place.write(f"day/{path.name}", path.read_bytes())
    place.write("notes.txt", b"not an image")
    return place.uri


def told(home: Home, place: str) -> str:
    """What the page says of a place that cannot be used, by its check and by its start."""
    checked = home.post("check", images=place, **BUNDLED)
    problem = [*checked.json().get("problems", []), checked.json().get("error")][0]
    started = home.post("start", images=place, **BUNDLED)
    assert started.status_code == 400
    assert started.json()["error"] == problem
    assert "\n" not in problem
    return str(problem)


def test_images_of_a_bucket(home: Home, script: Script, photos: str, tmp_path: Path) -> None:
    found = home.post("check", images=photos, **BUNDLED).json()
    assert (found["place"], found["dump"], found["images"]) == (photos, "photos", 8)
    assert (found["forms"], found["problems"]) == ([[".png", 8]], [])
    assert any("notes.txt" in line for line in found["left_out"])
    written = f"open({str(tmp_path / 'order.json')!r}, 'w').write(json.dumps(order))"
    script(written, {"end": 0, "sentence": ""})
    assert home.post("start", images=photos, **BUNDLED).status_code == 200
    home.until("done")
    order = json.loads((tmp_path / "order.json").read_text())
    assert order["options"]["corpus"]["images"] == photos


@pytest.fixture
def other_credentials() -> Iterator[None]:
    """No client from before the test, nor one of it afterwards."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    s3_client.filesystem.cache_clear()
    s3_client.LoggedS3.clear_instance_cache()


@pytest.mark.usefixtures("other_credentials")
class TestRefusals:
    def test_no_such_bucket_and_nothing_in_it(self, home: Home, s3_environment: str) -> None:
        assert "s3://no-such-bucket/x" in told(home, "s3://no-such-bucket/x")
        assert "does not exist" in told(home, s3_environment + "/none")
        Storage.at(s3_environment + "/some").write("notes.txt", b"1")
        assert "no images under" in told(home, s3_environment + "/some")

    def test_no_credentials(
        self, home: Home, s3_environment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        assert "give credentials through" in told(home, f"{s3_environment}/photos")

    def test_a_wrong_secret(
        self, home: Home, s3_environment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-key")
        sentence = told(home, f"{s3_environment}/photos")
        assert f"{s3_environment}/photos cannot be listed" in sentence
        assert "not-the-secret-key" not in sentence

    @pytest.mark.parametrize(
        "place", ["s3://KEY:SECRET@bucket/x", "s3://bucket/x?X-Amz-Signature=SECRET"]
    )
    def test_a_secret_is_not_taken(self, home: Home, tmp_path: Path, place: str) -> None:
        for field in ("images", "labels", "taxonomy", "weights"):
            body = {"images": "s3://bucket/x", **BUNDLED, field: place}
            answer = home.post("check", **body)
            assert answer.status_code == 400, field
            assert "give credentials through" in answer.json()["error"]
            assert "SECRET" not in answer.text
            assert home.post("start", **body).status_code == 400
        assert not (tmp_path / "ws").exists()


class TestAWorkspaceInABucket:
    @pytest.fixture
    def there(self, s3_environment: str) -> Iterator[Home]:
        with run_cache.during("there"):
            explorer = Explorer(Workspace.at(f"{s3_environment}/ws"))
            yield Home(explorer)
            explorer.running.close()

    def test_a_run_is_begun_remembered_and_done(
        self, there: Home, script: Script, photos: str
    ) -> None:
        assert there.look()["ready"] is False
        script("sys.stdin.read()", {"end": 130, "sentence": "interrupted"})
        there.post("start", images=photos, **BUNDLED)
        there.post("stop")
        there.until("stopped")
        later = Home(Explorer(Workspace.at(there.explorer.workspace.storage.uri)))
        assert later.look()["request"]["images"] == photos
        script({"end": 0, "sentence": ""})
        later.post("resume")
        later.until("done")
        assert later.look()["request"] is None
