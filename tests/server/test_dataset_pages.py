"""The datasets' pages and the report: charts as images, nothing that runs or is loaded, and no name that breaks out."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from rota import engines
from rota.manage.datasets import profiles
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import Dataset, DatasetDefinition, RandomSplit
from rota.records.time import HOUR_US
from rota.rendering import profile_view
from rota.rendering.documents import profile_html
from rota.testing.story import NOON_US

EVIL = "<script>alert('x')</script>"
FIELDS = {"id": "string", "origin": "string", "at": "timestamp", "delay": "float", EVIL: "string"}
SOURCE = Source("planes", FIELDS, "at", id_field="id")
VIEW = FeatureView("plane", [Entity("airport", ["origin"])], SOURCE, {"last": Feature("delay")})
DATASET = Dataset(
    "late",
    DatasetDefinition(FeatureService("late", [VIEW]), SOURCE, Feature("delay > 15"), "at", window="9999d", split=RandomSplit(0.3)),
    owner=EVIL,
    description="{{ 7 * 7 }}",
)
drawn = pytest.mark.skipif(engines.drawing() is None, reason="needs vl-convert: pip install 'rota[ui]'")


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def version(platform):
    platform.feed.register([SOURCE, VIEW, DATASET.definition.features])
    batch = Batch()
    batch.put(DATASET)
    platform.repositories.metadata.commit(batch)
    rows = [{"id": f"p{n}", "origin": "JLE"[n % 3], "at": NOON_US + n * HOUR_US, "delay": n % 40 * 1.0, EVIL: EVIL * (n % 3)} for n in range(200)]
    platform.features.push("planes", rows)
    return platform.datasets.build("late").version


def check_harmless(text):
    tags = Tags(text.replace('<form method="post" action="/leave">', "", 1)).found  # of every page: it signs out
    assert {tag for tag, _ in tags}.isdisjoint({"script", "iframe", "object", "embed", "form", "link-"})
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/svg+xml;base64,")
    assert EVIL not in text
    assert "49" not in re.findall(r"<td[^>]*>([^<]*)</td>", text)


def test_the_catalog_lists_definitions_and_versions_of_any_age(browser, version):
    page = browser.get("/datasets")
    assert page.status == 200
    assert 'href="/datasets/late%401"' in page.text
    assert 'href="/datasets/delay%401"' in page.text
    assert "delay &gt; 15" in page.text
    check_harmless(page.text)


def test_a_version_shows_its_profile_and_keeps_the_policy(browser, version):
    page = browser.get("/datasets/late@1")
    assert page.status == 200
    assert version.digest in page.text
    assert "30% of the rows, drawn by id with seed 0" in page.text
    for name in ("completeness", "timeliness", "plane__last", "Nearly every value is another one"):
        assert name in page.text
    assert "script" not in page.headers["content-security-policy"]
    check_harmless(page.text)


@drawn
def test_charts_are_images_whose_texts_are_escaped(browser, version):
    images = [attributes["src"] for tag, attributes in Tags(browser.get("/datasets/late@1").text).found if tag == "img"]
    assert len(images) == 1 + 7, "quality, and every column but the id"
    svgs = [base64.b64decode(image.partition(",")[2]).decode() for image in images]
    assert all(svg.startswith("<svg") for svg in svgs)
    assert not any("<script" in svg or "onload" in svg for svg in svgs)
    assert any("&lt;script&gt;" in svg for svg in svgs)


def test_without_vl_convert_the_counts_stand_in_tables_with_the_command(browser, version, monkeypatch):
    monkeypatch.setattr(engines, "drawing", lambda: None)
    page = browser.get("/datasets/late@1").text
    assert "pip install &#39;rota[ui]&#39;" in page
    assert "<img" not in page
    assert re.search(r"<tr><td class=\"id\">J</td>\s*<td class=\"num\">\d+</td>", page)
    check_harmless(page)


def test_what_does_not_exist_or_has_no_profile_says_so(browser, version):
    assert browser.get("/datasets/late@9").status == 404
    assert browser.get("/datasets/late").status == 422
    old = browser.get("/datasets/delay@1")
    assert old.status == 200
    assert "built without a profile" in old.text


def test_the_twins_of_the_pages_are_json(owner, version):
    assert {each["name"] for each in owner.get("/v1/datasets").json()} == {"late", "delay"}
    assert owner.get("/v1/datasets/late/1").json()["digest"] == version.digest
    assert owner.get("/v1/dataset-definitions").json()[0]["owner"] == EVIL
    found = owner.get("/v1/datasets/late/1/profile").json()
    assert {column["name"] for column in found["profile"]["columns"]} > {"plane__last", EVIL}
    assert found["charts"]["plane__last"]["$schema"].endswith("v5.json")
    assert owner.get("/v1/datasets/delay/1/profile").status == 404
    built = owner.post("/v1/dataset-definitions/late/build", {}).json()
    assert (built["new"], built["version"]["number"]) == (False, 1)
    assert owner.post("/v1/dataset-definitions/nix/build", {}).status == 404


def test_the_report_is_one_file_that_needs_nothing_else(platform, version, tmp_path):
    text = profile_html(version, profiles.load(platform.repositories.blobs, version), engines.drawing())
    check_harmless(text)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "default-src 'none'" in text
    assert text.lstrip().startswith("<!doctype html>")


@drawn
def test_every_specification_is_one_that_vega_lite_draws(platform, version):
    profile = profiles.load(platform.repositories.blobs, version)
    for name, uri in profile_view.images(profile_view.encode(profile), engines.drawing()).items():
        svg = base64.b64decode(uri.partition(",")[2]).decode()
        assert svg.count("<path") > 3, name


def test_the_pages_do_not_load_the_drawing_library_before_it_draws(root):
    code = "import sys, rota.server.app; print('vl_convert' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"


def test_a_specification_is_plain_json(platform, version):
    found = profiles.load(platform.repositories.blobs, version)
    from_json = json.loads(json.dumps(profile_view.profile_charts.charts(found)))
    assert from_json == profile_view.profile_charts.charts(found)
