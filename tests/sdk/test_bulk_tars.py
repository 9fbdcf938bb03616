"""WebDataset tars as inputs of `wise-segment batch`."""

import gc
import io
import tarfile
from pathlib import Path

import pytest

import bulk_data
from bulk_data import content_of, png
from entries import CUP, seen, told
from wise_client import InputError
from wise_client.sources import tars
from wise_client.sources.entries import Asked
from wise_client.sources.inputs import How, read


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"])
def test_tars_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"00{i}{suffix}" for i in range(2)]
    bulk_data.tar(paths[0], bulk_data.samples(range(12)))
    bulk_data.tar(paths[1], bulk_data.samples(range(12, 20)))
    expected = [(f"00{n // 12}/{n:04}.png", f"q{n}", "thing", n) for n in range(20)]
    assert seen(paths) == expected
    assert seen(tmp_path) == expected  # a folder without images, with tars
    assert [one[1] for one in seen(paths, CUP)] == ["the cup"] * 20


def test_tar_samples_as_people_write_them(tmp_path: Path) -> None:
    members = [
        ("./dir/a.seg.png", b"a mask"),
        ("./dir/a.JPG", png(1)),
        ("./dir/a.txt", b" a caption \n"),
        ("b.json", b'{"query": "no image"}'),
        ("c.png", png(2)),
        ("d.png", png(3)),
        ("d.json", b"{"),
        ("e.png", png(4)),
        ("e.txt", b"\xff"),
        ("README", b"no ending"),
    ]
    path = bulk_data.tar(tmp_path / "x.tar", members)
    assert seen(path) == [
        ("x/dir/a.jpg", "a caption", "", 1),
        ("x/b", "no image", "", f"{path}/b has no image"),
        ("x/c.png", "", "", f"{path}/c.png has no query"),
        ("x/d.png", "", "", f"{path}/d.png has no query"),
        ("x/e.png", "", "", f"{path}/e.png has no query"),
    ]


def test_a_tar_that_ends_early_ends_the_reading(tmp_path: Path) -> None:
    path = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(10)))
    path.write_bytes(path.read_bytes()[: 5 * 2 * 1024 + 700])
    with read([str(path)], How(Asked()), io.BytesIO()) as inputs:
        entries = inputs.entries()
        for number in range(5):
            assert content_of(next(entries)) == png(number)
        with pytest.raises(InputError, match=r"x.tar cannot be read beyond its sample 5 .*mend it"):
            list(entries)
    (tmp_path / "y.tar").write_bytes(b"no tar at all")
    with pytest.raises(InputError, match=r"y\.tar cannot be read beyond its sample 0"):
        told(tmp_path / "y.tar")


def test_tars_estimate_how_many_there_are(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.tar" for i in range(4)]
    for path in paths:
        bulk_data.tar(path, bulk_data.samples(range(100)))
    source = tars.Tars(paths, Asked())
    assert source.count() is None
    counts = [source.count() for _ in source.entries()]
    assert all(300 < (count or 0) < 500 for count in counts[50:])
    assert source.count() == 400


def test_tars_do_not_remember_their_members(tmp_path: Path) -> None:
    """A `TarFile` keeps each header; over ten million samples that would be gigabytes."""
    path = bulk_data.tar(tmp_path / "x.tar", bulk_data.samples(range(500)))
    entries = tars.Tars([path], Asked()).entries()
    for _ in range(400):
        next(entries)
    gc.collect()
    # `type`, not `isinstance`: that asks each object for its class, and some answer with a warning.
    alive = sum(type(one) is tarfile.TarInfo for one in gc.get_objects())
    entries.close()  # type: ignore[attr-defined]
    assert alive < 20
