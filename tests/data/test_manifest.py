"""Reading manifests: which folders are refused and what is said."""

import pytest

from cmrjax.data import manifest
from cmrjax.files import read_json, write_json
from tests.data.prepared_folder import make_prepared


def test_fingerprint_ignores_when_and_where(tmp_path):
    first = manifest.read_manifest(make_prepared(tmp_path / "a"))
    other = {**first, "source": "/elsewhere", "provenance": {"created": "now"}}
    assert manifest.fingerprint(first) == manifest.fingerprint(other)
    other = {**first, "spacing": [1.25, 1.25]}
    assert manifest.fingerprint(first) != manifest.fingerprint(other)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"no such folder; make it with: python -m ex"):
        manifest.read_manifest(tmp_path / "no")
    with pytest.raises(ValueError, match=r"not a prepared folder \(no manifest.json\)"):
        manifest.read_manifest(tmp_path)
    folder = make_prepared(tmp_path / "a")
    path = folder / manifest.MANIFEST_FILE
    good = read_json(path)
    cases = {
        r"has version 99, this code reads version 1; prepare": {"version": 99},
        r"not the manifest of a prepared folder": {"format": "x"},
        r"is damaged, labels is missing": {
            "arrays": {"images": good["arrays"]["images"]}
        },
        r"is damaged, centre is missing": {
            "slices": [{k: v for k, v in good["slices"][0].items() if k != "centre"}]
        },
    }
    for text, change in cases.items():
        write_json(path, {**good, **change})
        with pytest.raises(ValueError, match=text):
            manifest.read_manifest(folder)
    write_json(path, [1])
    with pytest.raises(ValueError, match=r"not the manifest of a prepared folder"):
        manifest.read_manifest(folder)
    write_json(path, {k: v for k, v in good.items() if k != "schema"})
    with pytest.raises(ValueError, match=r"is damaged, schema is missing"):
        manifest.read_manifest(folder)
