"""A contact sheet: each query with its nearest neighbours, marked correct or wrong."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from lookalike.plots.drawing import fit_image, fit_text, fitted_each, font
from lookalike.plots.style import DIFFERENT, INK, MUTED, PAPER, RULE, SAME

Hit = tuple[Image.Image, str, float, bool | None]
Row = tuple[Image.Image, Sequence[Hit]]


def gallery(
    rows: Sequence[Row],
    captions: Sequence[str] = (),
    side: int = 144,
    decisions: Sequence[tuple[str, bool]] = (),
) -> Image.Image:
    """One row per query: its image, then its hits, nearest first.

    A right hit has a solid blue frame and a tick, a wrong one a dashed orange frame and a cross; a hit that
    may be either has a thin frame and no sign.

    Args:
        rows: (query picture, [(picture, label, similarity, right or None), …]).
        captions: the queries' labels; "query" where none is given.
        side: pixels of a picture's side.
        decisions: what was decided of each query, and whether rightly, to stand below its label.

    Raises:
        ValueError: there are no rows, or captions for other than all rows.
    """
    if not rows or (captions and len(captions) != len(rows)):
        raise ValueError(
            f"gallery: {len(rows)} rows with {len(captions)} captions; it needs a row, and a caption each"
        )
    labels = [label for _, hits in rows for _, label, _, _ in hits]
    sheet = Sheet(side, max(len(hits) for _, hits in rows), len(rows), [*captions, *labels])
    for line, (query, hits) in enumerate(rows):
        decision = decisions[line] if decisions else None
        sheet.query(line, query, captions[line] if captions else "query", decision)
        for column, hit in enumerate(hits):
            sheet.hit(line, column, hit)
    return sheet.picture


class Sheet:
    """The canvas of `gallery`; all measures are fractions of an image's side."""

    def __init__(self, side: int, columns: int, rows: int, names: Sequence[str] = ()):
        self.side, self.gap, self.frame = side, side // 7, max(2, side // 32)
        self.letters, self.small = font(max(9, side // 10)), font(max(8, side // 11))
        self.line = round(self.letters.size * 1.4)
        self.step = side + self.gap
        room = side - self.letters.getlength("✓ ")
        self.names = dict(zip(names, fitted_each(names, room, self.letters, lines=2), strict=True))
        self.lines = 1 + max((text.count("\n") for text in self.names.values()), default=0)
        self.row = side + (1 + self.lines) * self.line + 2 * self.gap
        width = self.step * (columns + 1) + 2 * self.gap
        self.picture = Image.new("RGB", (width, self.row * rows + self.gap), PAPER)
        self.draw = ImageDraw.Draw(self.picture)

    def query(
        self, row: int, image: Image.Image, caption: str, decision: tuple[str, bool] | None = None
    ) -> None:
        """The query image, separated by a line."""
        x, y = self.gap, self.gap + row * self.row
        self._paste(image, x, y)
        self.draw.rectangle((x - 1, y - 1, x + self.side, y + self.side), outline=RULE)
        if decision is None:
            self._write(x, y, self.names.get(caption, caption), "query" if caption != "query" else "", INK)
        else:
            text, right = decision
            self._write(
                x,
                y,
                self.names.get(caption, caption),
                f"{'✓' if right else '✗'} {text}",
                INK,
                SAME if right else DIFFERENT,
            )
        across = x + self.step
        self.draw.line((across, y, across, y + self.side), fill=RULE, width=2)

    def hit(self, row: int, column: int, hit: Hit) -> None:
        """One hit with frame, mark, label and score."""
        image, label, score, right = hit
        x, y = 2 * self.gap + (column + 1) * self.step, self.gap + row * self.row
        self._paste(image, x, y)
        colour = MUTED if right is None else SAME if right else DIFFERENT
        if right is None:
            self.draw.rectangle((x - 1, y - 1, x + self.side, y + self.side), outline=RULE)
        else:
            self._frame(x, y, colour, dashed=not right)
        sign = "" if right is None else "✓ " if right else "✗ "
        self._write(
            x,
            y,
            f"{sign}{self.names.get(label, label)}",
            f"{score:.3f}",
            colour if right is not None else INK,
        )

    def _paste(self, image: Image.Image, x: int, y: int) -> None:
        fit = fit_image(image, self.side)
        self.picture.paste(fit, (x + (self.side - fit.width) // 2, y + (self.side - fit.height) // 2))

    def _frame(self, x: int, y: int, colour: str, dashed: bool) -> None:
        low, high = -self.frame, self.side + self.frame - 1
        self.draw.rectangle((x + low, y + low, x + high, y + high), outline=colour, width=self.frame)
        if not dashed:
            return
        dash = max(4, self.side // 12)
        for start in range(low + dash, high - dash, 2 * dash):
            for inner, outer in ((low, low + self.frame - 1), (high - self.frame + 1, high)):
                self.draw.rectangle((x + start, y + inner, x + start + dash, y + outer), fill=PAPER)
                self.draw.rectangle((x + inner, y + start, x + outer, y + start + dash), fill=PAPER)

    def _write(self, x: int, y: int, first: str, second: str, colour: str, below: str = MUTED) -> None:
        top = y + self.side + self.frame + self.line // 4
        for line in first.split("\n"):
            self.letters.write(self.draw, (x, top), line, colour)
            top += self.line
        self.small.write(self.draw, (x, top), fit_text(second, self.side, self.small), below)
