"""The lexicon on disk is the one that would be made, and nothing depends on the file."""

from __future__ import annotations

import os
import subprocess
import sys

from textseg3d.text.grammar import lexicon, stored
from textseg3d.text.grammar.lexicon import Lexicon
from textseg3d.text.knowledge.tree import KnowledgeTree, load_tree

ASK = "from textseg3d.text.grammar import parse_prompt as p; print(p('6 mm noduel in the LLL'))"


def ask(home, **more):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "TEXTSEG3D_HOME": str(home), **more},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_read_back_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path / "home"))
    tree = load_tree()
    made = Lexicon(KnowledgeTree(tree))
    stored.save(made.content())
    other = KnowledgeTree(tree)
    read = stored.load(lambda content: Lexicon.of_content(other, content))
    assert read is not None
    assert other.forms == made.tree.forms
    assert list(other.forms) == list(made.tree.forms)
    for own, theirs in ((made, read), (made._canonical, read._canonical)):
        values, others = dict(vars(own)), dict(vars(theirs))
        for name in ("tree", "_canonical"):
            values.pop(name, None), others.pop(name, None)
        assert values == others
    bags = [list(bag.items()) for bag in made._canonical._bags.values()]
    assert [list(bag.items()) for bag in read._canonical._bags.values()] == bags


def test_processes_with_and_without_a_file_say_the_same(tmp_path):
    first = ask(tmp_path / "home")
    (file,) = (tmp_path / "home").iterdir()
    assert ask(tmp_path / "home") == first
    content = file.read_bytes()
    for damaged in (b"", content[:1000], content[:-7], b"nonsense" * 99):
        file.write_bytes(damaged)
        assert ask(tmp_path / "home") == first
        assert file.read_bytes() == content, "a damaged file is replaced"


def test_a_folder_that_cannot_be_is_no_trouble(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert ask(tmp_path / "file" / "home") == ask(tmp_path / "home")


def test_another_source_is_another_file(tmp_path, monkeypatch):
    before = stored._path()
    (tmp_path / "one.py").write_text("x = 1")
    monkeypatch.setattr(stored, "_TEXT", tmp_path)
    one = stored._path()
    (tmp_path / "one.py").write_text("x = 2")
    assert len({before, one, stored._path()}) == 3


def test_old_files_go(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path))
    for i in range(5):
        (tmp_path / f"lexicon-{i}.bin").write_bytes(b"")
        os.utime(tmp_path / f"lexicon-{i}.bin", (i, i))
    stored.save({})
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted(["lexicon-3.bin", "lexicon-4.bin", stored._path().name])


def test_other_trees_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTSEG3D_HOME", str(tmp_path))
    small = KnowledgeTree([concept for concept in load_tree() if concept.name == "liver"])
    assert lexicon.lexicon_of(small).get("liver")
    assert not list(tmp_path.iterdir())
