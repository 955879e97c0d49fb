"""Files and folders appear whole or not at all."""

import pytest

from ds2toolkit.files import whole, whole_folder, write_json, write_text


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as part:
        part.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "folder"
    with whole_folder(path) as part:
        (part / "one").touch()
    with pytest.raises(OSError), whole_folder(path) as part:
        (part / "two").touch()
        raise OSError
    assert [one.name for one in path.iterdir()] == ["one"]
    with whole_folder(path) as part:
        (part / "three").touch()
    assert [one.name for one in path.iterdir()] == ["three"] and len(list(tmp_path.iterdir())) == 1


def test_a_left_over_half_folder_is_not_taken_over(tmp_path):
    (tmp_path / "part.folder").mkdir()
    (tmp_path / "part.folder" / "stale").touch()
    with whole_folder(tmp_path / "folder") as part:
        (part / "new").touch()
    assert [one.name for one in (tmp_path / "folder").iterdir()] == ["new"]


def test_suffixes_are_kept_so_that_writers_know_the_format(tmp_path):
    with whole(tmp_path / "a.jsonl.gz") as part:
        assert part.name.endswith(".jsonl.gz")
        part.touch()
    write_json(tmp_path / "b.json", {"é": 1})
    assert "é" in (tmp_path / "b.json").read_text(encoding="utf-8")
