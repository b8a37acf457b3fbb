"""The bootstrap's distribution as a drawing: SVG text, without a library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanfold_server.demo.bootstrap import Estimate, signed

BINS: Final = 61
_WIDTH: Final = 640
_HEIGHT: Final = 250
_FLOOR: Final = 212
_TOP: Final = 26
_EDGE: Final = 18
_TICK_G: Final = 50


def draw(estimate: Estimate) -> str:
    """Draw a histogram of the values with the interval, the observed value and zero."""
    return "".join(_parts(estimate))


def counts(values: list[float], *, low: float, high: float, bins: int) -> list[int]:
    """Count values in equal bins from low to high; the highest belongs to the last bin."""
    filled = [0] * bins
    for value in values:
        at = int((value - low) / (high - low) * bins)
        filled[min(max(at, 0), bins - 1)] += 1
    return filled


def _parts(estimate: Estimate) -> Iterator[str]:
    low, high = min(estimate.values_g), max(estimate.values_g)
    scale = (_WIDTH - 2 * _EDGE) / (high - low)

    def x(grams: float) -> float:
        return _EDGE + (grams - low) * scale

    filled = counts(estimate.values_g, low=low, high=high, bins=BINS)
    unit = (_FLOOR - _TOP) / max(filled)
    step = (high - low) / BINS
    label = (
        f"Histogram of {len(estimate.values_g)} resampled differences, with the 95 % interval "
        f"{estimate.interval}"
    )
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    yield (
        f'<rect class="interval" x="{x(estimate.low_g):.1f}" y="{_TOP - 4}" '
        f'width="{(estimate.high_g - estimate.low_g) * scale:.1f}" height="{_FLOOR - _TOP + 4}"/>'
    )
    for number, count in enumerate(filled):
        left = low + number * step
        is_inside = estimate.low_g <= left + step / 2 <= estimate.high_g
        yield (
            f'<rect class="{"in" if is_inside else "out"}" x="{x(left) + 0.6:.1f}" '
            f'y="{_FLOOR - count * unit:.1f}" width="{step * scale - 1.2:.1f}" '
            f'height="{count * unit:.1f}"/>'
        )
    yield f'<line class="axis" x1="{_EDGE}" x2="{_WIDTH - _EDGE}" y1="{_FLOOR}" y2="{_FLOOR}"/>'
    for tick in range(int(low // _TICK_G + 1) * _TICK_G, int(high) + 1, _TICK_G):
        yield f'<text class="tick" x="{x(tick):.1f}" y="{_FLOOR + 18}">{signed(tick)}</text>'
    yield f'<text class="tick" x="{_WIDTH / 2}" y="{_HEIGHT - 3}">difference of means, grams</text>'
    for grams, words in ((0.0, "no difference"), (estimate.observed_g, "observed")):
        if low < grams < high:
            at = f"{x(grams):.1f}"
            yield f'<line class="mark" x1="{at}" x2="{at}" y1="{_TOP - 8}" y2="{_FLOOR}"/>'
            side = "start" if grams else "end"
            shift = 5 if grams else -5
            yield (
                f'<text class="label" text-anchor="{side}" x="{x(grams) + shift:.1f}" '
                f'y="{_TOP - 10}">{words}</text>'
            )
    yield "</svg>"
