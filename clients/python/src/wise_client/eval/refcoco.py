"""RefCOCO, RefCOCO+ and RefCOCOg as published (https://github.com/lichengunc/refer).

A folder holds `refs(unc).p` (or `refs(umd).p`, `refs(google).p`) and `instances.json`. A ref has
`ann_id`, `image_id`, `split` and `sentences`; each sentence is a sample of its own, as the public
readers count them. The truth is the annotation's segmentation, its polygons joined.

The refs are a pickle, which can run code when it is loaded. This reader lets it make plain
containers, strings and numbers, and nothing else. The same refs as JSON are read too.
"""

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

from wise_client.errors import InputError
from wise_client.eval.coco import image_root, load_json, truth
from wise_client.eval.samples import Dataset, Sample, in_memory, located, seen

FORMAT = "refcoco"
# Where the public layout keeps the images, from the folder that holds refcoco/.
_IMAGES = Path("images", "mscoco", "images", "train2014")
_ALLOWED = {"list": list, "dict": dict, "set": set, "frozenset": frozenset, "tuple": tuple}


class _PlainUnpickler(pickle.Unpickler):
    """Python 2 wrote the published files; `encoding` is for its byte strings."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _ALLOWED:
            return _ALLOWED[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which refs do not need")


def read(path: Path, split: str | None = None, images: Path | None = None) -> Dataset:
    """`path`: the folder, or the refs file in it. `split`: "val", "testA", "testB", "test"...

    Raises InputError when a file is missing, of another form, or names what it should not.
    """
    refs_path = refs_file(path) if path.is_dir() else path
    instances = load_json(refs_path.parent / "instances.json")
    refs = _refs(refs_path)
    try:
        annotations = {one["id"]: one for one in instances["annotations"]}
        images_of = {one["id"]: one for one in instances["images"]}
        root = images or _default_images(
            refs_path.parent, [one["file_name"] for one in images_of.values()]
        )
        chosen = [ref for ref in refs if split is None or in_split(ref["split"], split)]
        if not chosen:
            raise InputError(f"{refs_path} has {_splits(refs)}; no {split}")
        samples = [
            _sample(
                root, refs_path, images_of[ref["image_id"]], annotations[ref["ann_id"]], sentence
            )
            for ref in chosen
            for sentence in ref["sentences"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{refs_path} and its instances.json are not of RefCOCO "
            f"({type(error).__name__}: {error})"
        ) from error
    return in_memory(f"{refs_path.parent}{f' {split}' if split else ''}", FORMAT, samples)


def refs_files(folder: Path) -> list[Path]:
    """Every refs file of a folder, by name."""
    return [one for one in seen(folder, ".p", ".json") if one.name.lower().startswith("refs")]


def refs_file(folder: Path) -> Path:
    """The refs of a folder; raises InputError when there is none, or more than one."""
    found = refs_files(folder)
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise InputError(f"{folder} should hold one refs file ({names}); name one of them")
    return found[0]


def in_split(own: str, asked: str) -> bool:
    """As the public API: "test" is every test split, the others are exact."""
    return own.startswith("test") if asked == "test" else own == asked


def _refs(path: Path) -> list[Any]:
    if path.suffix.lower() == ".json":
        refs = load_json(path)
    else:
        try:
            content = io.BytesIO(path.read_bytes())
            refs = _PlainUnpickler(content, encoding="utf-8", errors="replace").load()
        except FileNotFoundError as error:
            raise InputError(f"There is no file {path}") from error
        except Exception as error:  # a damaged pickle raises nearly anything
            raise InputError(f"{path} is not read: {error}") from error
    if not isinstance(refs, list):
        raise InputError(f"{path} is not a list of refs")
    return refs


def _sample(root: Path, refs: Path, image: Any, annotation: Any, sentence: Any) -> Sample:
    name, query = f"sent {sentence['sent_id']}", sentence["sent"]
    if not isinstance(query, str) or not query.strip():
        return Sample.unreadable(name, InputError(f"{refs}: {name} is empty or no text"))
    annotated = partial(truth, refs.parent / "instances.json", image, [annotation])
    return Sample(name, located(root, image["file_name"]), query.strip(), annotated)


def _default_images(folder: Path, names: list[Any]) -> Path:
    published = folder.parent / _IMAGES
    return published if published.is_dir() else image_root(folder, names)


def _splits(refs: list[Any]) -> str:
    return "the splits " + ", ".join(sorted({str(ref["split"]) for ref in refs}))
