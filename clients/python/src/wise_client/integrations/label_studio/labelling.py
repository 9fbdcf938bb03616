"""A project's labelling config: which controls are written, and what is asked for each label.

https://labelstud.io/tags lists the tags. Those used here:

| tag                                            | use                                         |
|------------------------------------------------|---------------------------------------------|
| `Image`                                        | its `value="$name"` names the task's image  |
| `BrushLabels`, `PolygonLabels`, `RectangleLabels` | masks, outlines or boxes are written there |
| `Label value="cup"`                            | the query is "cup", or what a setting says  |
| `TextArea`                                     | its text is the query in place of the label |
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wise_client.errors import InputError

# A label that several controls have is written in the first of these: the most exact form.
KINDS = ("BrushLabels", "PolygonLabels", "RectangleLabels")


@dataclass(frozen=True)
class Control:
    """One tag that regions are written for. `kind`: as results name it, such as "brushlabels"."""

    kind: str
    name: str
    image: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class TextArea:
    """A text field. `field`: the task's field that fills it, from `value="$field"`, or None."""

    name: str
    field: str | None


@dataclass(frozen=True)
class Labelling:
    """`image_fields`: from an Image tag's name to the task's field with the image's address."""

    controls: tuple[Control, ...]
    image_fields: Mapping[str, str]
    text_areas: tuple[TextArea, ...]

    @classmethod
    def parse(cls, config: str) -> "Labelling":
        """Raises InputError if the config has nothing that masks can be written for."""
        try:
            root = ET.fromstring(config)
        except ET.ParseError as error:
            raise InputError(f"The labelling config is not valid XML: {error}") from error
        images = {
            tag.get("name", ""): tag.get("value", "").removeprefix("$")
            for tag in root.iter("Image")
        }
        controls = tuple(_controls(root, images))
        if not controls:
            raise InputError(
                "The labelling config has no Image with BrushLabels, PolygonLabels or "
                "RectangleLabels that have a Label"
            )
        areas = [tag for tag in root.iter("TextArea") if tag.get("toName") in images]
        return cls(controls, images, tuple(_text_area(tag) for tag in areas))

    def control_of(self, label: str) -> Control:
        """The control that regions of `label` are written for. Raises InputError for no label."""
        for control in self.controls:
            if label in control.labels:
                return control
        raise InputError(f"No BrushLabels, PolygonLabels or RectangleLabels has a Label {label!r}")

    def labels(self) -> list[str]:
        """Each label once, in the config's order."""
        return list(dict.fromkeys(one for control in self.controls for one in control.labels))

    def queries(
        self, task: Mapping[str, Any], results: Sequence[Any], told: Mapping[str, str]
    ) -> dict[str, str]:
        """What to ask for each label about one task.

        A text in a TextArea counts first: it is the query of the label that has the TextArea's
        name, or of the first label, and then no other label is asked about. `results`: regions
        of the task's drafts and annotations, and of the request, the newest last. `told`: from a
        label to its query, by a setting. Else the query is the label itself.
        """
        labels = self.labels()
        written = {
            area.name if area.name in labels else labels[0]: text
            for area in self.text_areas
            if (text := _text(area, task, results))
        }
        return written or {label: told.get(label, label) for label in labels}


def _controls(root: ET.Element, images: Mapping[str, str]) -> Iterator[Control]:
    for kind in KINDS:
        for tag in root.iter(kind):
            labels = tuple(one.get("value", "") for one in tag.iter("Label"))
            image = tag.get("toName", "")
            if labels and image in images:
                yield Control(kind.lower(), tag.get("name", ""), image, labels)


def _text_area(tag: ET.Element) -> TextArea:
    value = tag.get("value", "")
    return TextArea(tag.get("name", ""), value[1:] if value.startswith("$") else None)


def _text(area: TextArea, task: Mapping[str, Any], results: Sequence[Any]) -> str:
    for one in reversed(results):
        if one.get("type") == "textarea" and one.get("from_name") == area.name:
            lines = one.get("value", {}).get("text") or []
            return " ".join([lines] if isinstance(lines, str) else map(str, lines)).strip()
    value = (task.get("data") or {}).get(area.field) if area.field else None
    return str(value or "").strip()
