"""Streams of rendered pages with their text, as a scanner and its OCR would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from typing_extensions import Unpack

from datamodules.base import DatasetModule, DatasetOptions, InMemory
from datamodules.readers.documents import check_documents, hidden
from datamodules.splits import Split
from datamodules.synthetic import check_made
from tl_modules.ranges import AtLeast, AtMost, MultipleOf, NotEmpty
from tl_modules.seeding import seed_of
from tl_modules.task import Task

KINDS = ("letter", "invoice", "form", "report", "contract")
WORDS = {
    "letter": "dear kindly regards sincerely reply thank visit family hope write friend answer wishes soon",
    "invoice": "invoice amount payment total due tax price quantity item net account delivery order discount",
    "form": "name address birth tick applicant field signature section insured occupation phone residence",
    "report": "figure results analysis summary method data increase chapter survey conclusion average table",
    "contract": "party clause agreement liability term hereby obligation breach notice jurisdiction lease tenant",
}
COMMON = """
    the of and to in a for on with by at from this that which as is are was be or not all any can has have will
    year month day office city street company customer number copy page please further between during first
    under each other new more than time made given taken upon where after before part case same work
"""
FIRST = "subject reference re our your date to from enclosed welcome concerning"
NAMES = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Linden", "Maple", "Oak", "Poplar", "Rowan", "Willow", "Yew")
TARGETS = {"content": KINDS, "starts": ("continues", "starts")}
TASKS = {"content": "page-content", "starts": "document-starts"}
TRAIN_SIZE, VAL_SIZE, TEST_SIZE = 1200, 300, 600
MOST_PAGES = 4
CUE, PLAIN, NOISE, UNREAD = 0.08, 0.3, 0.25, 0.05
SIDES = (4, 3)


class Page(NamedTuple):
    """A page: its picture `(H, W)` uint8, its text, the document's kind, and whether it is the document's first."""

    image: np.ndarray[Any, Any]
    text: str
    kind: int
    starts: int


class PageStreams(DatasetModule):
    """Documents of one to four pages, one after another, made as they are needed; a split's documents are its own.

    Picture and text tell different things: the picture has the layout, whose letters are too small to be read, and a
    letterhead on most first pages; the text has words, of which OCR garbled a part, and nothing of the layout. Source
    and target read the same stream, so that `datamodule.mode=aligned` has both labels for each page. 1,200
    pages train and 300 validate, unless told otherwise.

    Args:
        target: What is asked of a page: `content` (which kind of document) or `starts` (whether a new one starts).
        inputs: What is read of a page: `image`, `text` or both.
        missing: Share of pages, by split, of which one of several inputs is hidden.
        image_size: Height in pixels; the width is three quarters of it.
        task: The task's name; None for that of `target`.
        domain: The domain.
        role: `source` or `target`; of no effect here.
        **shared: Options of every dataset, see `DatasetModule`.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        target: Literal["content", "starts"] = "content",
        inputs: Annotated[Sequence[Literal["image", "text"]], NotEmpty()] = ("image", "text"),
        missing: Mapping[Split, Annotated[float, AtLeast(0), AtMost(1)]] | None = None,
        image_size: Annotated[int, AtLeast(64), MultipleOf(4)] = 96,
        task: str | None = None,
        domain: str = "pages-rendered",
        role: str = "target",
        **shared: Unpack[DatasetOptions],
    ) -> None:
        if target not in TARGETS:
            raise ValueError(f"target={target}: must be one of {', '.join(TARGETS)}")
        if image_size < 64 or image_size % SIDES[0]:
            raise ValueError(f"image_size={image_size}: must be a multiple of {SIDES[0]} of at least 64")
        self.inputs, self.missing = list(inputs), dict(missing or {})
        check_documents(self.inputs, self.missing)
        self.target, self.image_size = target, image_size
        made = Task(task or TASKS[target], "classification", TARGETS[target], domain, key=target, channels=1)
        super().__init__(made, **shared)
        check_made(self.train_size or TRAIN_SIZE, self.val_size)

    def setup(self, stage: str | None = None) -> None:
        """Make the three splits, once."""
        if hasattr(self, "test_dataset"):
            return
        train_size = self.train_size or TRAIN_SIZE
        sizes = {"train": train_size, "val": self.val_size or min(VAL_SIZE, train_size), "test": TEST_SIZE}
        for split, size in sizes.items():
            address = (split,) if split == "test" else (self.seed, split)
            pages = stream(size, self.image_size, *address)
            fields: dict[str, Any] = {"id": [f"{split}/{i}" for i in range(size)]}
            if "image" in self.inputs:
                fields["image"] = torch.from_numpy(np.stack([page.image for page in pages]))[:, None]
            if "text" in self.inputs:
                fields["text"] = [page.text for page in pages]
            labels = [page.kind if self.target == "content" else page.starts for page in pages]
            fields[self.target] = torch.tensor(labels)
            unread = {"text": [bool(page.text) for page in pages]} if "text" in self.inputs else {}
            dataset = InMemory(fields, unread if len(self.inputs) > 1 else {})
            share = self.missing.get(split, 0.0)
            made = hidden(dataset, share, (*address, "missing", split)) if share else dataset
            setattr(self, f"{split}_dataset", made)


@lru_cache(maxsize=8)
def stream(count: int, height: int, *address: object) -> list[Page]:
    """Return consecutive pages of documents.

    Args:
        count: Their number; the last document may be cut.
        height: Of the pictures, in pixels.
        address: Of the randomness.
    """
    pages: list[Page] = []
    number = 0
    while len(pages) < count:
        rng = np.random.default_rng(seed_of("pages", *address, number))
        pages += document(rng, height)
        number += 1
    return pages[:count]


def document(rng: np.random.Generator, height: int) -> list[Page]:
    """Return one document's pages."""
    kind = int(rng.integers(len(KINDS)))
    company = " ".join(rng.choice(NAMES, 2, replace=False)) + " Ltd"
    return [page(rng, height, kind, company, first=number == 0) for number in range(rng.integers(1, MOST_PAGES + 1))]


def page(rng: np.random.Generator, height: int, kind: int, company: str, first: bool) -> Page:
    """Return a page of a document.

    Args:
        rng: Where everything random comes from.
        height: Of the picture, in pixels.
        kind: The document's kind.
        company: Whose letterhead it has.
        first: Whether it is the document's first page.
    """
    width = height * SIDES[1] // SIDES[0]
    image = Image.new("L", (width, height), int(rng.integers(225, 256)))
    pen = ImageDraw.Draw(image)
    lines: list[str] = []
    top = height // 16
    if rng.random() < (0.75 if first else 0.1):
        top = letterhead(rng, pen, width, top)
        lines.append(company)
    if first and rng.random() < 0.7:
        lines.append(" ".join(rng.choice(FIRST.split(), 3)))
    name = KINDS[kind] if rng.random() > PLAIN else "letter"
    lines += LAYOUTS[name](rng, pen, (width, height), top, WORDS[KINDS[kind]].split())
    grain = rng.normal(0, 10, (height, width))
    pixels = (np.asarray(image, dtype=np.float32) + grain).clip(0, 255).astype(np.uint8)
    return Page(pixels, "" if rng.random() < UNREAD else garbled(rng, lines), kind, int(first))


def letterhead(rng: np.random.Generator, pen: ImageDraw.ImageDraw, width: int, top: int) -> int:
    """Draw a letterhead and return where the page goes on."""
    deep = int(rng.integers(4, 8))
    left = 0 if rng.random() < 0.5 else width // 2
    pen.rectangle((left + width // 12, top, left + width // 3, top + deep), fill=int(rng.integers(0, 90)))
    return top + deep + 4


def sentence(rng: np.random.Generator, cues: Sequence[str], length: int) -> str:
    """Return words of a line, some of them the kind's own."""
    return " ".join(str(rng.choice(cues if rng.random() < CUE else COMMON.split())) for _ in range(length))


def write(rng: np.random.Generator, pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> None:
    """Write a line so small that only its look is left."""
    pen.text(place, text, fill=int(rng.integers(20, 90)), font=FONT)


def paragraphs(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, size: tuple[int, int], top: int, cues: Sequence[str]
) -> list[str]:
    """Draw lines from edge to edge, in paragraphs."""
    lines, (width, height) = [], size
    while top < height - 10:
        lines.append(sentence(rng, cues, int(rng.integers(4, 8))))
        write(rng, pen, (width // 10, top), lines[-1][: int(width * 0.8) // LETTER])
        top += 6 + (4 if rng.random() < 0.2 else 0)
    return lines


def grid(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, size: tuple[int, int], top: int, cues: Sequence[str]
) -> list[str]:
    """Draw a table with amounts on the right."""
    lines, (width, height) = [], size
    bottom = int(rng.integers(height * 2 // 3, height - 6))
    for x in (width // 10, width * 6 // 10, width * 9 // 10):
        pen.line((x, top, x, bottom), fill=60)
    while top < bottom - 7:
        pen.line((width // 10, top, width * 9 // 10, top), fill=60)
        lines.append(f"{sentence(rng, cues, 3)} {rng.integers(1, 999)}.{rng.integers(10, 99)}")
        write(rng, pen, (width // 10 + 2, top + 1), lines[-1][: width // 2 // LETTER])
        top += 8
    return lines


def fields(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, size: tuple[int, int], top: int, cues: Sequence[str]
) -> list[str]:
    """Draw labels with boxes to fill in."""
    lines, (width, height) = [], size
    while top < height - 14:
        lines.append(sentence(rng, cues, 3))
        write(rng, pen, (width // 10, top), lines[-1][: width // 3 // LETTER])
        left = width // 2 if rng.random() < 0.8 else width * 3 // 4
        pen.rectangle((left, top, width * 9 // 10, top + 6), outline=70)
        top += 10
    return lines


def columns(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, size: tuple[int, int], top: int, cues: Sequence[str]
) -> list[str]:
    """Draw two columns and a figure of bars."""
    lines, (width, height) = [], size
    figure = height - int(rng.integers(20, 30))
    for x in range(width // 10, width * 9 // 10, 8):
        pen.rectangle((x, figure + int(rng.integers(2, 14)), x + 4, height - 5), fill=110)
    while top < figure - 6:
        lines.append(sentence(rng, cues, int(rng.integers(4, 8))))
        for left in (width // 12, width * 6 // 11):
            write(rng, pen, (left, top), lines[-1][: width * 2 // 5 // LETTER])
        top += 6
    return lines


def clauses(
    rng: np.random.Generator, pen: ImageDraw.ImageDraw, size: tuple[int, int], top: int, cues: Sequence[str]
) -> list[str]:
    """Draw numbered paragraphs, set in."""
    lines, (width, height), number = [], size, 1
    while top < height - 10:
        pen.rectangle((width // 12, top + 1, width // 12 + 4, top + 4), fill=40)
        for _ in range(int(rng.integers(2, 4))):
            lines.append(f"{number}. {sentence(rng, cues, int(rng.integers(4, 7)))}")
            write(rng, pen, (width // 5, top), lines[-1][: int(width * 0.7) // LETTER])
            top += 6
        number, top = number + 1, top + 3
    return lines


def garbled(rng: np.random.Generator, lines: Sequence[str]) -> str:
    """Return lines as OCR would: a part of the words with a wrong letter."""
    read = []
    for line in lines:
        words = []
        for word in line.split():
            place = int(rng.integers(len(word)))
            wrong = rng.random() < NOISE
            words.append(word[:place] + str(rng.choice(list("abceilnorst01"))) + word[place + 1 :] if wrong else word)
        read.append(" ".join(words))
    return "\n".join(read)


FONT, LETTER = ImageFont.load_default(6), 3
LAYOUTS = {"letter": paragraphs, "invoice": grid, "form": fields, "report": columns, "contract": clauses}
