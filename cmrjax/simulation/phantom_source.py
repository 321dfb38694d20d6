"""The frames of an XCAT phantom that subjects are made of."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.simulation.phantom import Phantom, apex_first, prepare_phantom
from cmrjax.simulation.tissues import tissue_to_class
from cmrjax.simulation.xcat import XcatPhantom, open_xcat

_BEATS = 0.85  # a heart beats if its smallest volume is below this part of the largest
_TOLERANCE = 0.1  # of the stroke volume, for frames near end-diastole and end-systole
_APEX_OPEN = 0.15  # of the largest section: a last section above it is a cut heart
_MAX_PAIRS = 4
_CHEST = [MULTI_TISSUE.id_of(n) for n in (*HEART_CLASSES, "lung", "other_blood")]


@dataclass(frozen=True)
class FrameFacts:
    """What tells frames of heart beat and breathing apart.

    Attributes:
        frame: Number of the frame.
        lv_ml: Volume of the left ventricle.
        chest_ml: Volume of lungs and heart in view: the state of breathing, the same
            at each phase of the heart.
        open_end: Area of the cavity in the last slice at the heart's tip over the
            largest area.
    """

    frame: int
    lv_ml: float
    chest_ml: float
    open_end: float


@dataclass(frozen=True)
class PhantomSource:
    """An opened phantom and the pairs of frames to use.

    Attributes:
        xcat: The files.
        pairs: Pairs of frames at end-diastole and end-systole, in states of breathing
            from exhaled to inhaled; a frame twice where the phantom does not beat.
        beats: Whether the phantom's heart beats.
    """

    xcat: XcatPhantom
    pairs: tuple[tuple[int, int], ...]
    beats: bool

    def load(self, pair: int) -> tuple[Phantom, Phantom]:
        """Prepares a pair; kept in memory once it is.

        Args:
            pair: Index into ``pairs``.

        Raises:
            ValueError: As `XcatPhantom.read_tissues` and `prepare_phantom`.
        """
        diastole, systole = self.pairs[pair]
        return _load(self.xcat.path, diastole), _load(self.xcat.path, systole)


@functools.lru_cache(maxsize=1)
def open_source(path: str | Path) -> PhantomSource:
    """Opens an XCAT zip file or folder and chooses its frames.

    Args:
        path: See `xcat.open_xcat`.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If it is no phantom, or no frame shows LV, MYO, RV and abdomen.
    """
    xcat = open_xcat(path)
    facts = [found for f in xcat.frames if (found := measure_frame(xcat, f))]
    if not facts:
        names = ", ".join((*HEART_CLASSES, "abdomen"))
        raise ValueError(
            f"{path}: no frame shows all of {names}; use a phantom cut in short-axis"
            " slices through the heart"
        )
    pairs, beats = choose_pairs(facts)
    return PhantomSource(xcat, pairs, beats)


def measure_frame(xcat: XcatPhantom, frame: int) -> FrameFacts | None:
    """Measures one frame; None if it lacks LV, MYO, RV or abdomen."""
    labels = tissue_to_class()[xcat.read_tissues(frame)]
    wanted = (*HEART_CLASSES, "abdomen")
    if not all((labels == MULTI_TISSUE.id_of(name)).any() for name in wanted):
        return None
    voxel = float(np.prod(xcat.spacing)) / 1000
    area = (labels == MULTI_TISSUE.id_of("LV")).sum(axis=(1, 2))
    return FrameFacts(
        frame=frame,
        lv_ml=float(area.sum()) * voxel,
        chest_ml=float(np.isin(labels, _CHEST).sum()) * voxel,
        open_end=float((area[0] if apex_first(labels) else area[-1]) / area.max()),
    )


def choose_pairs(
    facts: list[FrameFacts],
) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Chooses frames at end-diastole and end-systole, alike in breathing.

    End-diastole has the largest left ventricle and end-systole the smallest. Frames
    that cut the heart's tip are left out while others remain. Where volumes differ
    little, the phantom does not beat (XCAT with breathing alone, or with one frame per
    heart beat): each frame is then both, and the two phases are made by `morphing`.

    Args:
        facts: What was measured, one per frame; not empty.

    Returns:
        Up to four pairs, spread over the states of breathing, and whether the phantom
        beats.
    """
    whole = [f for f in facts if f.open_end <= _APEX_OPEN] or [
        min(facts, key=lambda f: f.open_end)
    ]
    largest, smallest = (g(f.lv_ml for f in whole) for g in (max, min))
    if smallest > _BEATS * largest:
        pairs = [(f, f) for f in whole]
    else:
        margin = _TOLERANCE * (largest - smallest)
        systoles = [f for f in whole if f.lv_ml <= smallest + margin]
        pairs = [
            (f, min(systoles, key=lambda s: abs(s.chest_ml - f.chest_ml)))
            for f in whole
            if f.lv_ml >= largest - margin
        ]
        pairs.sort(key=lambda pair: abs(pair[0].chest_ml - pair[1].chest_ml))
        pairs = pairs[:_MAX_PAIRS]
    pairs.sort(key=lambda pair: (pair[0].chest_ml, pair[0].frame))
    count = min(_MAX_PAIRS, len(pairs))
    spread = np.linspace(0, len(pairs) - 1, count).round().astype(int)
    chosen = tuple((pairs[i][0].frame, pairs[i][1].frame) for i in spread)
    return chosen, smallest <= _BEATS * largest


@functools.lru_cache(maxsize=2 * _MAX_PAIRS)
def _load(path: Path, frame: int) -> Phantom:
    """Prepares one frame."""
    xcat = open_source(path).xcat
    try:
        return prepare_phantom(xcat.read_tissues(frame), xcat.spacing)
    except ValueError as error:
        raise ValueError(f"{path}, frame {frame}: {error}") from error
