"""The demo on a tiny size: all its parts, repeated, and its verdict."""

import dataclasses
import json
import pathlib
from html.parser import HTMLParser

import pytest

from cmrjax.training.loop import LoopResult
from experiments import demo

SIZE = demo.DemoSize(
    subjects=3, image_size=32, spacing=6.0, num_steps=2, base_features=1
)


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href") and v]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("demo with space") / "demo"
    # Two steps of a network of width 1 do not beat the class-mean image.
    with pytest.raises(demo.DemoFailedError, match="is not above the class-mean"):
        demo.run_demo(folder, SIZE)
    return folder


def test_the_demo_writes_volumes_and_one_page_with_pictures(workdir):
    volumes = sorted(p.name for p in (workdir / "synthetic").rglob("*.nii.gz"))
    assert volumes == [
        f"SIM0002_sa_frame0{t}{kind}.nii.gz" for t in (0, 1) for kind in ("", "_gt")
    ]
    parser = _Sources()
    parser.feed((workdir / "report.html").read_text(encoding="utf-8"))
    assert len(parser.sources) == 4
    assert all(s.startswith("data:image/png;base64,") for s in parser.sources)


@pytest.mark.parametrize(
    ("began", "said"),
    [(True, "training saved at step 3"), (False, "nothing new is saved of the train")],
)
def test_a_stopped_training_ends_the_demo_and_says_what_is_saved(began, said):
    demo._finish(LoopResult(None, 3, None))
    with pytest.raises(demo.DemoFailedError, match=f"^SIGTERM: {said}.*continues"):
        demo._finish(LoopResult(None, 3, "SIGTERM", began=began))


def test_a_repeated_demo_keeps_what_is_finished(workdir):
    kept = [
        *workdir.glob("database/*/*.nii.gz"),
        *workdir.glob("scans/*/*.nii.gz"),
        *workdir.glob("labelled/*.npy"),
        *workdir.glob("segmenter/checkpoints/*"),
        *workdir.glob("synthetic/*/*"),
        *workdir.glob("model/checkpoints/*"),
    ]
    assert len(kept) > 12
    before = {path: path.stat().st_mtime_ns for path in kept}
    with pytest.raises(demo.DemoFailedError):
        demo.run_demo(workdir, SIZE)
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_another_size_in_the_same_folder_is_refused(workdir):
    with pytest.raises(ValueError, match=r"new --workdir|other settings"):
        demo.run_demo(
            workdir,
            demo.DemoSize(subjects=3, image_size=64, spacing=4.0),
        )


def test_what_was_cut_off_is_made_again(workdir):
    """The network's figures are written last, and belong to one network."""
    report = workdir / "segmentation" / "segmentation.json"
    report.unlink()
    (workdir / "segmentation" / "panel.png").unlink()
    labelled = workdir / "labelled" / "manifest.json"
    manifest = json.loads(labelled.read_text())
    manifest["provenance"]["config"]["model_fingerprint"] = "another network"
    labelled.write_text(json.dumps(manifest))
    before = (workdir / "labelled" / "labels.npy").stat().st_mtime_ns
    with pytest.raises(demo.DemoFailedError, match="is not above the class-mean"):
        demo.run_demo(workdir, SIZE)
    assert report.exists()
    assert (workdir / "segmentation" / "panel.png").exists()
    assert (workdir / "labelled" / "labels.npy").stat().st_mtime_ns > before


def test_a_prepared_folder_that_lacks_subjects_is_refused(workdir):
    more = dataclasses.replace(SIZE, subjects=4)
    with pytest.raises(ValueError, match="holds 3 of 4 subjects, 0 problems"):
        demo._check_size(workdir / "labelled", more)
    larger = dataclasses.replace(SIZE, image_size=64)
    with pytest.raises(ValueError, match=r"slices of \(32, 32\) at .* use a new"):
        demo._check_size(workdir / "labelled", larger)


def test_an_interrupted_part_interrupts_the_demo():
    with pytest.raises(KeyboardInterrupt):
        demo._succeed(130, "")
    with pytest.raises(demo.DemoFailedError, match="not prepared, see above"):
        demo._succeed(1, "not prepared")
    demo._succeed(0, "")


@pytest.mark.parametrize(("model", "passes"), [(0.7, True), (0.6, False), (0.5, False)])
def test_the_verdict_compares_with_the_class_mean_image(model, passes):
    summary = {
        "model": {"ssim": {"mean": model}},
        "class_mean": {"ssim": {"mean": 0.6}},
    }
    if passes:
        demo._check({"summary": summary})
    else:
        with pytest.raises(demo.DemoFailedError, match=r"0\.600"):
            demo._check({"summary": summary})


def test_a_missing_figure_fails_the_demo():
    summary = {
        "model": {"ssim": {"mean": float("nan")}},
        "class_mean": {"ssim": {"mean": 0.6}},
    }
    with pytest.raises(demo.DemoFailedError):
        demo._check({"summary": summary})
