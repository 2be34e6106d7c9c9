from types import SimpleNamespace

from matplotlib.figure import Figure

from tl_run.report import pictures


def test_letters_that_the_usual_font_lacks_come_from_what_is_installed(monkeypatch):
    fonts = [SimpleNamespace(name=name) for name in ("Malgun Gothic", "Comic Sans MS", "PingFang SC")]
    monkeypatch.setattr(pictures, "fontManager", SimpleNamespace(ttflist=fonts))
    assert pictures.families.__wrapped__() == ["DejaVu Sans", "PingFang SC", "Malgun Gothic"]


def test_letters_that_no_font_has_are_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "families", lambda: ["DejaVu Sans"])
    pictures._say_boxes.cache_clear()
    for name in ("a.png", "b.png"):
        figure = Figure()
        figure.subplots().set_title("\u72ac")
        pictures._save(figure, tmp_path / name)
    assert (tmp_path / "b.png").is_file()
    said = "no font here has some of the letters; pictures show boxes for them (Noto Sans CJK has most)\n"
    assert capsys.readouterr().err == said
