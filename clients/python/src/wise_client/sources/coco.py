"""A COCO file: each image by the queries of its annotations, or by their categories' names."""

from collections.abc import Iterator
from pathlib import Path

from wise_client.errors import InputError
from wise_client.eval.coco import image_root, load_json
from wise_client.sources.entries import Asked, Entry, Image, refuse


class CocoFile:
    """The whole file is read into memory, as JSON is; of it only names and queries are kept.

    Without queries of the command line, an image is asked about by the `query` of each of its
    annotations, or by the name of the annotation's category where there is no `query`: each once,
    the category's name is the label. Images without annotations are then left out.
    """

    def __init__(self, path: Path, root: Path | None, asked: Asked) -> None:
        """`root`: where `file_name` starts (default: the file's folder, or `images/` in it).

        Raises InputError for a file of another form, and where there is nothing to ask.
        """
        document = load_json(path)
        try:
            files = {one["id"]: str(one["file_name"]) for one in document["images"]}
            named = {one["id"]: str(one["name"]) for one in document.get("categories") or ()}
            pairs: dict[tuple[object, str], str] = {}
            for one in () if asked.queries else document["annotations"]:
                label = named.get(one.get("category_id"), "")
                query = str(one.get("query") or label).strip()
                pairs.setdefault((one["image_id"], query), label)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a COCO file ({type(error).__name__}: {error}); it should hold "
                '"images" with "id" and "file_name", and "annotations" with "image_id"'
            ) from error
        if asked.queries:
            pairs = {(image, query): label for image in files for query, label in asked.queries}
        if not pairs:
            raise InputError(f"{path} has no annotation to take a query from: give --query")
        self._path = path
        self._root = root or image_root(path.parent, files.values())
        self._files = files
        self._pairs = pairs

    def count(self) -> int:
        """The pairs of image and query."""
        return len(self._pairs)

    def entries(self) -> Iterator[Entry]:
        """As `Source.entries`."""
        for (identifier, query), label in self._pairs.items():
            if identifier in self._files:
                image = Image.at(self._root / self._files[identifier], self._root)
            else:
                name = f"{self._path}:{identifier}"
                missing = refuse(f"{self._path} has no image with the id {identifier}")
                image = Image(name, name, missing)
            yield from Asked().about(image, query, label)
