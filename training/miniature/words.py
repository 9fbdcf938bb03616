"""The words of the miniature's queries; `queries.py` has their grammar.

The tokenizer's vocabulary consists of these words, so a new word needs a new model.
"""

KIND_WORDS = {
    "circle": (
        "circle",
        "circle",
        "circle",
        "circle",
        "disc",
        "disk",
        "dot",
        "round shape",
        "ball",
    ),
    "square": ("square", "square", "square", "square", "box", "block", "rectangle", "tile"),
    "triangle": ("triangle", "triangle", "triangle", "triangular shape"),
    "star": ("star", "star", "star", "star shape", "star-shaped figure"),
}
ANY_WORDS = ("shape", "shape", "shape", "object", "thing", "figure", "one", "form", "item")
COLOUR_WORDS = {
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "green": ("green", "green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "azure"),
    "yellow": ("yellow", "yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "purple", "violet"),
    "orange": ("orange", "orange", "orange"),
    "white": ("white", "white", "white"),
    "black": ("black", "black", "black", "dark"),
}
COLOUR_THINGS = {
    "red": (
        "blood", "a fire engine", "a fire truck", "a ripe tomato", "tomatoes", "strawberries",
        "a strawberry", "cherries", "a cherry", "a rose", "a stop sign", "ketchup", "a ruby",
        "lava",
        "fire", "a ladybug", "an apple", "a heart",
    ),
    "green": (
        "grass", "leaves", "a leaf", "a frog", "a lime", "spinach", "an emerald", "a cucumber",
        "a forest", "trees", "peas", "broccoli", "a meadow", "a lawn", "moss", "a cactus", "plants",
    ),
    "blue": (
        "the sky", "the sea", "the ocean", "a clear sky", "blueberries", "sapphires", "a sapphire",
        "water", "jeans", "a lake", "the deep sea",
    ),
    "yellow": (
        "the sun", "lemons", "a lemon", "a banana", "bananas", "sunflowers", "a sunflower",
        "butter",
        "gold", "cheese", "corn", "egg yolk", "a canary", "sunshine", "a duckling", "honey",
    ),
    "purple": (
        "grapes", "lavender", "plums", "a plum", "an eggplant", "an aubergine", "amethyst",
        "violets", "a violet", "lilac", "beetroot",
    ),
    "orange": (
        "carrots", "a carrot", "a pumpkin", "pumpkins", "an orange", "oranges", "a tangerine",
        "a traffic cone", "a basketball", "apricots", "a tiger", "a mandarin",
    ),
    "white": (
        "snow", "milk", "chalk", "cotton", "a swan", "salt", "paper", "clouds", "a polar bear",
        "ivory", "sugar", "fresh snow", "a snowman", "a cloud", "flour", "rice",
    ),
    "black": (
        "coal", "the night", "night", "ink", "soot", "tar", "a raven", "a crow", "midnight",
        "the night sky", "charcoal", "a panther", "asphalt", "darkness", "liquorice",
    ),
}  # fmt: skip
KIND_TRAITS = {
    "circle": (
        "could roll", "can roll", "would roll", "could roll away", "rolls", "is round",
        "has no corners", "has no corner", "looks like a ball", "looks like a wheel",
        "is shaped like a coin", "looks like a coin", "resembles a wheel", "is like a ball",
        "looks like the moon", "looks like a plate", "has no edges", "has no straight sides",
        "is shaped like a wheel", "could be a wheel", "would roll down a hill",
        "is perfectly round",
    ),
    "square": (
        "has four corners", "has four sides", "has four equal sides", "has four right angles",
        "looks like a box", "looks like a tile", "looks like a window", "is shaped like a box",
        "resembles a window", "is shaped like a tile", "looks like a dice", "has 4 corners",
        "has 4 sides", "resembles a chessboard", "looks like a chessboard", "is like a box",
        "has right angles", "could be stacked like a box", "has 4 equal sides",
    ),
    "triangle": (
        "has three corners", "has three sides", "has three angles", "looks like a slice of pizza",
        "looks like a pyramid", "resembles a pyramid", "is shaped like a tent", "looks like a tent",
        "has 3 corners", "has 3 sides", "looks like a roof", "resembles a slice of pizza",
        "is shaped like a pyramid", "has the fewest corners", "is shaped like a warning sign",
        "looks like a mountain", "is like a tent", "has three points",
    ),
    "star": (
        "has five points", "has five arms", "twinkles", "could twinkle", "belongs in the night sky",
        "has five tips", "looks like a starfish", "resembles a starfish", "has 5 points",
        "would shine in the night sky", "shines at night", "is spiky", "has many points",
        "has the most corners", "you could wish upon", "sits on top of a christmas tree",
        "has ten corners", "looks like a sheriff's badge", "has spikes", "could be on a flag",
    ),
}  # fmt: skip
SUPERLATIVES: dict[str, tuple[str, ...]] = {
    "largest": ("largest", "biggest", "largest", "biggest", "greatest", "most big"),
    "smallest": ("smallest", "tiniest", "smallest", "littlest", "least large"),
    "leftmost": ("leftmost", "left-most", "furthest left", "farthest left"),
    "rightmost": ("rightmost", "right-most", "furthest right", "farthest right"),
    "topmost": ("topmost", "highest", "uppermost", "top", "upper-most"),
    "lowest": ("lowest", "bottommost", "bottom", "lowermost", "bottom-most"),
}
SUPERLATIVE_CLAUSES: dict[str, tuple[str, ...]] = {
    "largest": ("that is the largest", "with the largest area", "that takes up the most space",
                "which is bigger than all others", "that covers the most pixels"),
    "smallest": ("that is the smallest", "with the smallest area", "that takes up the least space",
                 "which is smaller than all others"),
    "leftmost": ("furthest to the left", "farthest to the left", "closest to the left edge",
                 "on the far left", "nearest the left edge", "that is leftmost"),
    "rightmost": ("furthest to the right", "farthest to the right", "closest to the right edge",
                  "on the far right", "nearest the right edge", "that is rightmost"),
    "topmost": ("closest to the top", "at the very top", "nearest the top edge", "highest up",
                "closest to the top edge", "that is highest", "nearest to the top"),
    "lowest": ("closest to the bottom", "at the very bottom", "nearest the bottom edge",
               "lowest down", "closest to the bottom edge", "that is lowest",
               "nearest to the bottom"),
}  # fmt: skip
RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of", "on the left of", "on the left side of", "left from"),
    "right": ("right of", "to the right of", "on the right of", "on the right side of"),
    "above": ("above", "over", "higher than", "on top of", "further up than"),
    "below": ("below", "under", "beneath", "underneath", "lower than", "further down than"),
    "nearest": ("nearest to", "closest to", "nearest", "next to", "beside", "near"),
}
PREFIXES = (
    "find", "segment", "show me", "show", "select", "mark", "please find", "please segment",
    "where is",
    "which is", "what is", "locate", "outline", "highlight", "i want", "give me", "point to",
    "pick",
    "look for", "mask", "can you find", "get", "identify", "cut out", "which one is",
)  # fmt: skip
SUFFIXES = (
    "in the image", "in the picture", "here", "please", "in this picture", "in this image",
    "in the scene", "you can see", "on the canvas", "in the photo", "shown here",
)  # fmt: skip
LIKENESS_HOW = (
    "the colour of", "the color of", "as {colour} as", "coloured like", "with the colour of",
    "that has the colour of", "that has the same colour as", "whose colour is that of",
    "that is the colour of",
)  # fmt: skip
LIKENESS_FORMS: dict[str, tuple[str, ...]] = {
    "colour": ("the {noun} {how} {thing}", "the {noun} {how} {thing}", "the colour of {thing}",
               "what has the colour of {thing}", "it has the colour of {thing}"),
    "kind": ("the {noun} that {trait}", "the {noun} that {trait}", "it {trait}",
             "the {noun} which {trait}", "what {trait}", "something that {trait}"),
    "both": ("the {noun} {how} {thing} that {trait}", "the {coloured} that {trait}",
             "the {shaped} {how} {thing}"),
}  # fmt: skip
PLURAL_WORDS = ("all", "every one of the", "all the", "the")
